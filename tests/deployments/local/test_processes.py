"""Programs: started, noticed when dead, ended with all that they started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.local.processes import MARK, Child, Program, end_marked

FATHER = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(child.pid, flush=True); child.wait()"


def program(folder: Path, text: str, stop_seconds: float = 5) -> Program:
    environment = {"PYTHONUNBUFFERED": "1", "PATH": os.environ["PATH"], MARK: str(folder)}
    return Program("program", (sys.executable, "-c", text), environment, folder, folder / "program.log", stop_seconds)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 55
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_marked(tmp_path, grace_seconds=0)


def test_a_program_that_died_is_noticed_once_and_its_pauses_grow(folder: Path) -> None:
    child = Child(program(folder, "raise SystemExit(3)"))
    until(lambda: not child.alive)

    assert child.notice(now=child.started) == f"program ended (exit code 3), starts again in 1 s; log: {folder / 'program.log'}"
    assert child.notice(now=child.started) == ""
    assert child.again_at == child.started + 1

    for pause in (2, 5, 10, 30, 30):
        child.start()
        until(lambda: not child.alive)
        assert f"starts again in {pause} s" in child.notice(now=child.started)


def test_a_program_that_lived_long_starts_again_without_a_long_pause(folder: Path) -> None:
    child = Child(program(folder, "raise SystemExit(3)"))
    until(lambda: not child.alive)
    child.deaths = 4

    assert "starts again in 1 s" in child.notice(now=child.started + 61)


def test_what_a_program_prints_is_in_its_log_and_a_long_log_is_set_aside(folder: Path) -> None:
    log = folder / "program.log"
    log.write_bytes(b"x" * 5_000_001)

    child = Child(program(folder, "print('hello')"))
    until(lambda: not child.alive)

    assert log.read_text() == "hello\n"
    assert (folder / "program.old.log").stat().st_size == 5_000_001


def test_stopping_ends_a_program_that_refuses_and_what_it_started(folder: Path) -> None:
    child = Child(program(folder, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FATHER, stop_seconds=0.2))
    until(lambda: (folder / "program.log").read_text().endswith("\n"))
    grandchild = int((folder / "program.log").read_text())

    child.stop()

    assert not child.alive
    until(lambda: not running(grandchild))


def test_a_program_that_was_killed_takes_what_it_started_with_it(folder: Path) -> None:
    child = Child(program(folder, FATHER))
    until(lambda: (folder / "program.log").read_text().endswith("\n"))
    grandchild = int((folder / "program.log").read_text())

    os.kill(child.process.pid, signal.SIGKILL)
    until(lambda: not child.alive)

    assert "killed by SIGKILL" in child.notice(time.monotonic())
    until(lambda: not running(grandchild))


def test_only_marked_processes_are_ended_even_when_they_refuse_to(tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    start = [sys.executable, "-c", program]
    ours = subprocess.Popen(start, env={MARK: str(tmp_path)}, stdout=subprocess.PIPE)
    other = subprocess.Popen(start, env={MARK: str(tmp_path / "other")}, stdout=subprocess.PIPE)
    for process in (ours, other):
        assert process.stdout is not None
        process.stdout.readline()

    try:
        assert end_marked(tmp_path, grace_seconds=0.3) == [ours.pid]
        assert ours.wait(60) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
