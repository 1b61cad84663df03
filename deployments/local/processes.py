"""The programs that `ratchet up` starts: each in a session of its own, marked as ours, started again when it dies, and never outliving us.

Every program, and whatever it starts itself, carries `RATCHET_UP=<home>` in its environment. So what is left after a kill -9
is found by that mark in /proc and ended through a pidfd, which can never hit a process that was given the same number later.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import PlatformError

MARK = "RATCHET_UP"
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0  # a program that lived this long is started again without a longer wait
KILL_SECONDS = 5.0  # SIGKILL acts at once, except on a process that hangs in the kernel
LOG_BYTES = 5_000_000  # a longer log is set aside when the program starts


@dataclass(frozen=True)
class Program:
    """How to start and end one program; SIGTERM must end it within `stop_seconds`."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    stop_seconds: float = 6.0


class Child:
    """A running program, and when to start it again once it has died."""

    again_at: float | None

    def __init__(self, program: Program) -> None:
        self.program = program
        self.deaths = 0
        self.start()

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self.again_at is None and not self._exited()

    def notice(self, now: float) -> str:
        """Notice a death and plan the next start; says what happened, or nothing."""
        if self.again_at is not None or not self._exited():
            return ""
        self.deaths = 1 if now - self.started >= STEADY_SECONDS else self.deaths + 1
        pause = BACKOFF_SECONDS[min(self.deaths, len(BACKOFF_SECONDS)) - 1]
        self.again_at = now + pause
        return f"{self.program.name} ended ({ending(self._reap())}), starts again in {pause:.0f} s; log: {self.program.log}"

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to the whole session after `stop_seconds`."""
        if self.again_at is not None or self.process.returncode is not None:
            return
        os.kill(self.process.pid, signal.SIGTERM)
        until = time.monotonic() + self.program.stop_seconds
        while not self._exited() and time.monotonic() < until:
            time.sleep(0.05)
        self._reap()

    def _exited(self) -> bool:
        if self.process.returncode is not None:
            return True
        # WNOWAIT leaves the zombie, so that its number is still ours when its session is killed.
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> int:
        """End what is left of the session, which would go on unsupervised, and return how the program ended."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def start(self) -> None:
        """Start the program, in a session of its own."""
        self.started = time.monotonic()
        self.again_at = None
        log = self.program.log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".old.log"))
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                (*tied_to_parent(signal.SIGTERM), *self.program.command),
                env=dict(self.program.environment),
                cwd=self.program.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def tied_to_parent(number: signal.Signals) -> tuple[str, ...]:
    """Words before a command that have the kernel signal it when its parent dies; none where util-linux is missing."""
    return ("setpriv", "--pdeathsig", number.name.removeprefix("SIG"), "--") if shutil.which("setpriv") else ()


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def end_marked(home: Path, grace_seconds: float = 3.0) -> list[int]:
    """End every process that carries the mark of `home`, and return their numbers: SIGTERM first, SIGKILL after the grace."""
    ended: set[int] = set()
    begun = time.monotonic()
    while found := _signal_marked(home, signal.SIGTERM if time.monotonic() - begun < grace_seconds else signal.SIGKILL, already=ended):
        ended |= found
        if time.monotonic() - begun > grace_seconds + KILL_SECONDS:
            raise PlatformError(f"Processes {sorted(found)} of an earlier `ratchet up` do not end", "End them by hand, then try again.")
        time.sleep(0.1)
    return sorted(ended)


def _signal_marked(home: Path, number: signal.Signals, already: set[int]) -> set[int]:
    """Signal marked processes (SIGTERM only once each) and return those that are there."""
    mark = f"{MARK}={home}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue  # gone meanwhile
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(pid)
                if number != signal.SIGTERM or pid not in already:
                    signal.pidfd_send_signal(handle, number)
        except OSError:
            continue  # gone meanwhile, or another user's: then it is not ours
        finally:
            os.close(handle)
    return found


def python(*words: str) -> tuple[str, ...]:
    """A command of this very Python; -P keeps the folder it starts in off the import path, where a project's own folders would hide ours."""
    return (sys.executable, "-P", *words)
