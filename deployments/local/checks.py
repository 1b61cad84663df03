"""What this machine must offer before anything is started. Each check that fails says so in one line."""

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tasks.errors import PlatformError
from tasks.settings import Settings

PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 13)  # requires-python of pyproject.toml
DISK_BYTES = 2_000_000_000  # a year of flights, its models, logs and reports stay below 1 GB; the rest is room to work


def python_version(found: tuple[int, int] = sys.version_info[:2]) -> None:
    """Raise PlatformError unless this Python is one the project is locked for."""
    if not PYTHON_FROM <= found < PYTHON_BELOW:
        raise PlatformError(f"This is Python {found[0]}.{found[1]}; Ratchet needs 3.11 or 3.12", "Install python3.11 and run `make install` again.")


def disk(home: Path, needed: int = DISK_BYTES) -> None:
    """Raise PlatformError unless the disk that holds (or will hold) `home` has `needed` bytes free."""
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PlatformError(
            f"{folder} has {free / 1e9:.1f} GB free; Ratchet needs {needed / 1e9:.1f} GB", "Free some space, or set RATCHET_HOME to another disk."
        )


def ports(settings: Settings, models: int) -> None:
    """Raise PlatformError when another program listens where one of ours must: UI, reports, and one endpoint a model."""
    wanted = {settings.ui_port: ("the Prefect UI", "RATCHET_UI_PORT"), settings.reports_port: ("the reports", "RATCHET_REPORTS_PORT")}
    for number in range(settings.endpoint_port, settings.endpoint_port + max(models, 1)):
        if number in wanted:
            raise PlatformError(f"Port {number} is meant for an endpoint and for {wanted[number][0]}", f"Set {wanted[number][1]} or RATCHET_ENDPOINT_PORT.")
        wanted[number] = ("an endpoint", "RATCHET_ENDPOINT_PORT")
    for number, (purpose, variable) in wanted.items():
        if not _free(settings.host, number):
            raise PlatformError(f"Port {number} on {settings.host}, meant for {purpose}, is taken by another program", f"End it, or set {variable}.")


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock of a home; the kernel gives it back however this process ends.

    Raises:
        PlatformError: another `ratchet up` holds it, or the home cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = _lock_file(home).open("a+")
    except OSError as err:
        raise PlatformError(f"{home} cannot be written ({err.strerror})", "Mend its permissions, or set RATCHET_HOME.") from err
    with file:
        if not _locked(file):
            raise PlatformError(f"`ratchet up` is running already for {home} (process {holder(home)})", "End it with `ratchet down`.")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(home: Path) -> int | None:
    """Number of the `ratchet up` that is running for a home; None when there is none."""
    if not _lock_file(home).exists():
        return None
    with _lock_file(home).open("r") as file:
        if _locked(file, shared=True):
            return None
        return int(file.read() or 0) or None


def _lock_file(home: Path) -> Path:
    return home / "up.lock"


def _locked(file: IO[str], shared: bool = False) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free(host: str, number: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: a connection in TIME_WAIT is no obstacle
        try:
            listener.bind((host, number))
        except OSError:
            return False
    return True
