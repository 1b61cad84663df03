"""`ratchet status` of models that are served: what it says is read from what runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hosting
import httpx
import pytest
import trained
from factories import version

from deployments.commands.console import columns
from deployments.commands.status import _table
from deployments.local.checks import only_one
from deployments.local.usage import bytes_of, usage
from tasks.installation import Installation
from tasks.ledger.rows import ReleaseRow
from tasks.release.local import LocalTarget
from tasks.settings import Settings


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Settings]:
    """The toy, live and asked once, under a supervisor and what stands for `ratchet up`."""
    settings = hosting.settings(tmp_path / "home")
    with only_one(settings.root), hosting.supervisor(settings):
        release, store = hosting.stored(hosting.bento(1.0))
        LocalTarget(settings).apply(release, store)
        LocalTarget(settings).wait_ready(release, 120)
        httpx.post(f"http://127.0.0.1:{settings.endpoint_port}/predict", json={"rows": [{"x": 1}]}, timeout=60).raise_for_status()
        here = Installation.of(settings)
        row = version("toy-1").model_copy(update={"model": "toy", "version": release.version})
        here.ledger.append(row, ReleaseRow(model="toy", release=release.id, version=release.version, step="live", reason="better"))
        yield settings


@pytest.fixture
def run(served: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("RATCHET_ENDPOINT_PORT", str(served.endpoint_port))
    return trained.ratchet(Installation.of(served), monkeypatch)


def test_it_says_how_each_model_is_served(served: Settings, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--json") == 0
    told = json.loads(capsys.readouterr().out)

    assert {"models", "endpoints", "serving", "waiting", "up", "rows", "head"} == told.keys()
    assert told["endpoints"] == {"toy": f"http://127.0.0.1:{served.endpoint_port}"}
    toy = told["serving"]["toy"]
    threads = len(list(Path(f"/proc/{toy['pid']}/task").iterdir()))
    assert (toy["state"], toy["format"], toy["processes"], toy["threads"], toy["omp_threads"], toy["restarts"]) == ("live", "onnx", 1, threads, "1", 0)
    assert toy["memory_bytes"] > 20e6
    assert toy["log_bytes"] == bytes_of(served.logs / "toy") > 0

    assert run("status") == 0
    text = capsys.readouterr().out
    assert f"toy      live   onnx    {toy['pid']}" in text

    os.kill(toy["pid"], signal.SIGKILL)
    while LocalTarget(served).status()["toy"].pid == toy["pid"]:
        time.sleep(0.05)
    LocalTarget(served).wait_ready(hosting.release(hosting.bento(1.0)), 120)
    assert run("status", "--json") == 0
    again = json.loads(capsys.readouterr().out)["serving"]["toy"]
    assert (again["restarts"], again["pid"] != toy["pid"]) == (1, True)


def test_a_child_and_its_threads_are_counted_with_the_process_that_started_it() -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = usage(process.pid)
        assert process.stdin is not None
        process.stdin.close()

    assert found is not None
    assert (found.processes, found.threads, found.omp_threads) == (2, 2, "3")
    assert usage(process.pid) is None


def test_the_table_of_serving_fits_a_terminal_on_one_machine_and_on_a_cluster() -> None:
    common = {"state": "starting", "format": "sklearn", "restarts": 120, "since": "2026-11-24T18:20:29Z", "error": ""}
    local = common | {"pid": 4_194_304, "processes": 2, "threads": 12, "omp_threads": "", "memory_bytes": 1_234_567_890, "log_bytes": 12_345_678_901}
    pods = common | {"ready": 1, "wanted": 2, "cpu": "100m", "memory": "1Gi", "omp_threads": "1"}

    machine, cluster = columns(_table({"flights_airtime": local, "down": common})), columns(_table({"flights_airtime": pods}))

    assert max(map(len, machine.splitlines() + cluster.splitlines())) <= 120
    assert "every core" in machine
    assert "1 of 2 ready" in cluster
    assert "100m cpu, 1Gi" in cluster
