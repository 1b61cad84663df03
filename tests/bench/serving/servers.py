"""A server and its children: started on one core, paused while others are measured, and what /proc says they use."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def pinned(core: int | None) -> list[str]:
    """What to put before a command so that it runs on that core."""
    return [] if core is None else ["taskset", "--cpu-list", str(core)]


@dataclass(frozen=True)
class Server:
    """A started server that listens on a port of loopback."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    @classmethod
    def start(cls, command: Sequence[str], env: Mapping[str, str], folder: Path, port: int, core: int | None = None) -> "Server":
        """Start it, with what it prints in a file of its folder."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "BENTOML_", "PYTHON", "MLFLOW_"))}
        with (folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [*pinned(core), *command], env=own | dict(env), cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )
        return cls(process, port, folder / "output.txt")

    def stop(self) -> None:
        """End it and its children."""
        family = self.family()
        self.resume()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """Take no core while another server is measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """User and system time of all its processes."""
        return sum(int(field) for pid in self.family() for field in _stat(pid)[11:13]) / TICKS

    def memory_mb(self) -> float:
        """Resident megabytes of all its processes; pages that they share count in each."""
        return sum(int(_stat(pid)[21]) for pid in self.family()) * PAGE / 1e6

    def family(self) -> list[int]:
        """Its process and all that descend from it."""
        parents = {int(path.name): int(_stat(int(path.name))[1]) for path in Path("/proc").iterdir() if path.name.isdigit()}
        found, before = {self.process.pid}, 0
        while len(found) > before:
            before = len(found)
            found |= {pid for pid, parent in parents.items() if parent in found}
        return sorted(found)

    def _signal(self, signum: int) -> None:
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signum)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; before it is the name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", *["0"] * 49]  # it has ended meanwhile


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
