"""`ratchet up` as a whole, on a project whose flows only write ledger rows: real server, worker, supervisor and processes."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from standins import Place, make_place

from deployments.local import checks
from deployments.local.processes import MARK, end_marked
from tasks.ledger.chain import Ledger

PATIENCE = 120.0  # for a busy machine; alone it takes a tenth of that

pytestmark = pytest.mark.timeout(900)  # some wait for several things, one after the other


@dataclass
class Machine:
    """A place whose platform is started and stopped here."""

    place: Place
    running: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def ratchet(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self._command(*words), env=self.place.environment, cwd=self.place.project, capture_output=True, text=True, timeout=PATIENCE)

    def up(self) -> "subprocess.Popen[str]":
        self.log.write_text("")
        with self.log.open("w") as log:
            started = subprocess.Popen(self._command("up"), env=self.place.environment, cwd=self.place.project, stdout=log, stderr=subprocess.STDOUT, text=True)
        self.running.append(started)
        return started

    @property
    def log(self) -> Path:
        return Path(self.place.project.parent / "up.log")

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.place.home / 'ledger.db'}", self.place.home)

    def until_said(self, text: str) -> None:
        until(lambda: text in self.log.read_text() or self.running[-1].poll() is not None)
        assert text in self.log.read_text(), self.log.read_text()

    def processes(self) -> list[int]:
        """Processes that carry the mark of this home."""
        mark, found = f"{MARK}={self.place.home.resolve()}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def runs(self, state: str) -> list[str]:
        """Ids of the runs that Prefect's database holds in a state, read without a server."""
        with sqlite3.connect(f"file:{self.place.home / 'prefect' / 'prefect.db'}?mode=ro", uri=True, timeout=60) as database:
            return [str(UUID(found)) for (found,) in database.execute("SELECT id FROM flow_run WHERE state_type = ?", (state,))]

    def start_replay(self) -> str:
        """Start a run that would take a minute, and return its id once it runs; a schedule's run may be going beside it."""
        program = "from tasks import handoff; print(handoff.start('replay/flights', {'seconds': 60}))"
        told = {"PREFECT_API_URL": f"http://127.0.0.1:{self.place.environment['RATCHET_UI_PORT']}/api", "PREFECT_HOME": str(self.place.home / "prefect")}
        started = subprocess.run(
            [sys.executable, "-c", program], env=self.place.environment | told, check=True, timeout=PATIENCE, stdout=subprocess.PIPE, text=True
        )
        run = started.stdout.split()[-1]
        until(lambda: run in self.runs("RUNNING"))
        return run

    def child(self, word: str) -> int:
        """Number of the process of ours whose command holds a word."""
        for pid in self.processes():
            with suppress(OSError):  # another one, which has ended meanwhile
                if word in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                    return pid
        raise AssertionError(f"no process of ours is {word}")

    def end(self) -> None:
        """End whatever a failed test left."""
        for started in self.running:
            started.kill()
            started.wait()
        self.running.clear()
        end_marked(self.place.home.resolve())

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "deployments.cli", *words]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """One place for the whole module: its first start prepares Prefect's database, which takes the longest."""
    return Machine(make_place(tmp_path_factory.mktemp("platform")))


@pytest.fixture
def machine(home: Machine) -> Iterator[Machine]:
    yield home
    home.end()


@pytest.fixture
def fresh(place: Place) -> Iterator[Machine]:
    """A place that has never been started."""
    machine = Machine(place)
    yield machine
    machine.end()


@pytest.mark.slow
def test_a_start_brings_every_model_live_and_a_signal_leaves_nothing_behind(machine: Machine) -> None:
    platform = machine.up()
    machine.until_said("ready; Ctrl-C")

    assert "batch 2013-02 of flights is quarantined: a blizzard" in machine.log.read_text()
    assert "\x1b" not in machine.log.read_text()
    status = json.loads(machine.ratchet("status", "--json").stdout)
    assert all(model["version"] for model in status["models"])
    assert status["up"] is True
    assert machine.ratchet("up").stderr.startswith("ratchet: `ratchet up` is running already")

    replay = machine.start_replay()
    platform.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    platform.send_signal(signal.SIGINT)
    assert platform.wait(PATIENCE) == 0

    assert machine.processes() == []
    assert [machine.runs(state) for state in ("RUNNING", "PENDING", "CANCELLING")] == [[], [], []]
    assert replay in machine.runs("CANCELLED")
    assert machine.ratchet("down").stdout == "nothing was running\n"


@pytest.mark.slow
def test_a_second_start_resumes_without_training_and_cleans_up_after_a_kill(machine: Machine) -> None:
    machine.up()
    machine.until_said("ready; Ctrl-C")
    trained = machine.ratchet("train", "late", "--wait")
    assert (trained.returncode, "promoted: it answers" in trained.stdout) == (0, True)
    refused = machine.ratchet("train", "late", "--drill", "shuffled_labels", "--wait")
    assert (refused.returncode, "refused: no gain" in refused.stderr) == (1, True)
    rows = len(machine.ledger.read())
    replay = machine.start_replay()
    under_way = set(machine.runs("RUNNING"))

    machine.running[-1].kill()
    machine.running[-1].wait()
    second = machine.up()
    machine.until_said("ready; Ctrl-C")

    assert len(machine.ledger.read()) == rows
    assert "now Crashed" in machine.log.read_text()
    assert not under_way & set(machine.runs("RUNNING")), "what runs now was started since"
    assert replay in machine.runs("CRASHED")
    assert machine.ratchet("down").stdout == "stopped\n"
    assert second.wait(PATIENCE) == 0
    assert machine.processes() == []


@pytest.mark.slow
def test_what_an_operator_does_in_the_ui_a_program_can_do_too(machine: Machine) -> None:
    """With --wait the exit code is whether it was done."""
    machine.up()
    machine.until_said("ready; Ctrl-C")

    assert "/v2/runs/flow-run/" in machine.ratchet("train", "late", "--wait").stdout
    rolled = machine.ratchet("rollback", "late", "--approver", "ann", "--reason", "complaints", "--wait")
    assert (rolled.returncode, "live: complaints" in rolled.stdout) == (0, True)
    waived = machine.ratchet("waive", "flights", "2013-02", "--approver", "ann", "--reason", "a real blizzard", "--wait")
    assert (waived.returncode, "let in by ann: a real blizzard" in waived.stdout) == (0, True)
    assert machine.ratchet("ingest", "flights", "2013-03", "--wait").returncode == 0
    assert machine.ratchet("ingest", "flights", "2013-02", "--wait").returncode == 1
    assert machine.ratchet("monitor", "air", "--wait").returncode == 0

    machine.place.add_model("new")
    assert machine.ratchet("train", "new", "--wait").returncode == 0
    assert machine.ratchet("pause", "new").stdout == "paused monitor/new\n"
    assert machine.ratchet("pause", "train/new").returncode == 2
    assert machine.ratchet("down").returncode == 0


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_server_come_back_and_no_run_is_left_claiming_to_run(machine: Machine) -> None:
    machine.up()
    machine.until_said("ready; Ctrl-C")

    machine.start_replay()
    under_way = set(machine.runs("RUNNING"))
    os.kill(machine.child("worker start"), signal.SIGKILL)
    machine.until_said("runs died with the worker, now Crashed")
    machine.until_said("worker is started again")
    assert not under_way & set(machine.runs("RUNNING")), "what runs now was started since"
    os.kill(machine.child("server start"), signal.SIGKILL)
    machine.until_said("prefect-server is started again")

    until(lambda: machine.ratchet("train", "late", "--wait").returncode == 0)
    assert machine.ratchet("down").returncode == 0
    assert machine.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_make_alone_ends_everything_too(machine: Machine, number: signal.Signals, tmp_path: Path) -> None:
    """GNU make keeps a SIGINT that a script sends to it alone to itself; `run` must notice."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    recipe = makefile.partition("\nrun:")[2].partition("\n")[2].partition("\n\n")[0].replace(".venv/bin/ratchet", f"{sys.executable} -P -m deployments.cli")
    (tmp_path / "Makefile").write_text(f"run:\n{recipe}\n")
    with machine.log.open("w") as log:
        make = subprocess.Popen(
            ["env", "--default-signal=INT", "make", "-C", str(tmp_path), "run"], env=machine.place.environment, stdout=log, stderr=subprocess.STDOUT, text=True
        )
    machine.running.append(make)
    machine.until_said("waiting for the Prefect server")

    make.send_signal(number)

    make.wait(PATIENCE)
    until(lambda: checks.holder(machine.place.home) is None)
    assert "everything is stopped" in machine.log.read_text()
    assert machine.processes() == []


def test_a_taken_port_is_one_line_and_nothing_is_started(fresh: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(fresh.place.environment["RATCHET_ENDPOINT_PORT"]) + 1))
        taken.listen()

        done = fresh.ratchet("up")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "meant for an endpoint, is taken by another program. End it, or set RATCHET_ENDPOINT_PORT." in done.stderr
    assert not (fresh.place.home / "prefect").exists()


def test_a_broken_folder_is_told_before_anything_is_started(fresh: Machine) -> None:
    fresh.place.add_model("broken", "dataset = 'flights'\ntusk = 'binary'\n")

    done = fresh.ratchet("up")

    assert done.returncode == 2
    assert "bentos/broken/model.toml" in done.stderr
    assert "tusk: no such key. Did you mean 'task'?" in done.stderr
    assert not (fresh.place.home / "prefect").exists()


def test_a_start_ends_with_the_parent_that_it_was_told_of(machine: Machine) -> None:
    program = "import os, subprocess, sys; subprocess.Popen(sys.argv[1:], env=os.environ | {'RATCHET_PARENT': str(os.getpid())}); sys.stdin.read()"
    command = [sys.executable, "-c", program, sys.executable, "-P", "-m", "deployments.cli", "up"]
    with machine.log.open("w") as log:
        parent = subprocess.Popen(command, env=machine.place.environment, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True)
    machine.running.append(parent)
    machine.until_said("waiting for the Prefect server")

    parent.kill()

    until(lambda: checks.holder(machine.place.home) is None)
    assert "our parent stops" in machine.log.read_text()
    assert machine.processes() == []
