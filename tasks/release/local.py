"""The local target: releases served on this machine by the supervisor, and how that is started and ended."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import SecretStr

from bentos.runtime.digest import digest_of
from bentos.runtime.release import Release
from bentos.runtime.unix_socket import short_path
from tasks.errors import PlatformError, ReleaseError
from tasks.release.desired import Apply, Desired, Remove, Reply, Status, Stop
from tasks.release.target import ServingStatus
from tasks.settings import Settings
from tasks.store import Ref, Store

POLL_SECONDS = 0.05
START_SECONDS = 15.0  # for the supervisor to hear commands; it loads no model itself
STOP_SECONDS = 60.0


class LocalTarget:
    """See `Target`. A model's first release takes the port that `ports` names, else the first free one from Settings.endpoint_port on; it keeps it."""

    def __init__(self, settings: Settings, ports: Mapping[str, int] | None = None) -> None:
        self.settings, self.ports = settings, dict(ports or {})

    def apply(self, release: Release, store: Store) -> None:
        """See `Target`. The bento is fetched from the store unless its bytes are here already."""
        ref = Ref.parse(release.bento)
        folder = self.settings.serving / "bentos" / ref.digest[:16]
        if folder.exists() and digest_of(folder) != release.bento:
            shutil.rmtree(folder)  # somebody changed it
        folder.parent.mkdir(parents=True, exist_ok=True)
        bento = store.get_tree(ref, folder)
        reply = ask(self.settings, Apply(release=release, bento=bento, port=self.ports.get(release.model, 0)))
        if reply.error:
            raise ReleaseError(release.model, release.version, reply.error.rstrip("."))

    def wait_ready(self, release: Release, timeout_seconds: float) -> None:
        """See `Target`."""
        until = time.monotonic() + timeout_seconds
        while time.monotonic() < until:
            found = ask(self.settings, Status()).models.get(release.model)
            if problem := _problem(release, found):
                raise ReleaseError(release.model, release.version, problem)
            if found and found.release == release.id and found.state == "live":
                return
            time.sleep(POLL_SECONDS)
        raise ReleaseError(release.model, release.version, f"release {release.id!r} did not answer within {timeout_seconds:g} s, and is still being tried")

    def status(self) -> dict[str, ServingStatus]:
        """See `Target`. Without a supervisor every model is down."""
        try:
            return ask(self.settings, Status()).models
        except PlatformError as err:
            desired = Desired.load(self.settings.serving / "desired.json")
            now = datetime.now(UTC)
            return {
                model: ServingStatus(model=model, version=w.release.version, release=w.release.id, state="down", port=w.port, since=now, error=str(err))
                for model, w in desired.models.items()
            }

    def remove(self, model: str) -> None:
        """See `Target`."""
        reply = ask(self.settings, Remove(model=model))
        if reply.error:
            raise PlatformError(reply.error, "Look into the supervisor's log.")


def _problem(release: Release, found: ServingStatus | None) -> str:
    """Why waiting for a release is in vain; empty when it is not."""
    if found is None:
        return "its model was removed meanwhile, or the supervisor started anew"
    if found.tried == release.id:
        return found.refused
    if found.release == release.id:
        return ""
    return f"release {found.tried!r} was asked for instead" if found.tried else "the supervisor started anew meanwhile"


def ask(settings: Settings, command: Apply | Status | Remove | Stop) -> Reply:
    """Tell the supervisor something and return what it says.

    Raises:
        PlatformError: there is none.
    """
    path = settings.serving / "supervisor.sock"
    try:
        with short_path(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(STOP_SECONDS)
            connection.connect(name)
            connection.sendall(command.model_dump_json().encode() + b"\n")
            with connection.makefile("rb") as answers:
                return Reply.model_validate_json(answers.readline())
    except (OSError, ValueError) as err:
        raise PlatformError(f"No supervisor answers at {path}: {err}", "Start the platform: ratchet up.") from err


def start_supervisor(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own and return when it hears commands; the models come up after that.

    Raises:
        PlatformError: it did not start, for example because there is one already.
    """
    settings.serving.mkdir(parents=True, exist_ok=True, mode=0o700)
    output = settings.serving / "supervisor.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.release.supervisor"],
            env=os.environ | variables(settings),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if ask(settings, Status()).pid == process.pid:
                return process
        except PlatformError:
            pass  # not yet
        time.sleep(POLL_SECONDS)
    process.kill()
    process.wait()
    raise PlatformError(
        f"The supervisor did not start: {output.read_text().strip()[-500:] or 'it did not answer'}", f"Its log is {settings.serving / 'supervisor.log'}."
    )


def stop_supervisor(settings: Settings) -> None:
    """Let the supervisor answer what is under way and end; returns when it is gone. None running is no error."""
    try:
        pid = ask(settings, Stop()).pid
    except PlatformError:
        return
    until = time.monotonic() + STOP_SECONDS
    while _alive(pid):
        if time.monotonic() > until:
            raise PlatformError(f"Supervisor {pid} has not ended after {STOP_SECONDS:g} s", f"Look into {settings.serving / 'supervisor.log'}.")
        time.sleep(POLL_SECONDS)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # a zombie has ended; its parent may not have asked yet
    except FileNotFoundError:
        return False


def variables(settings: Settings) -> dict[str, str]:
    """The environment variables that make these settings in another process."""
    absolute = settings.model_copy(update={"home": settings.root, "project": settings.project.resolve()})
    values = {name: getattr(absolute, name) for name in type(settings).model_fields}
    return {f"RATCHET_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in values.items()}
