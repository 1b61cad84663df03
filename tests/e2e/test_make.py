"""The commands of the README from a fresh clone, as a stranger would type them. Slow: each sets up everything anew."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from platform_up import ROOT, until
from ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
INSTALL_AND_START_SECONDS = 900


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is committed, and nothing else."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    return tmp_path / "clone"


def environment(first_port: int) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "PREFECT_", "VIRTUAL_ENV", "MAKE"))}
    return env | {"RATCHET_UI_PORT": str(first_port), "RATCHET_REPORTS_PORT": str(first_port + 1), "RATCHET_ENDPOINT_PORT": str(first_port + 2)}


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_make_run_brings_everything_up_stops_cleanly_and_goes_on(clone: Path, signal_number: signal.Signals) -> None:
    first = free_ports(10)
    champions = []
    for _ in range(2):
        with (clone / "up.log").open("wb") as log:
            running = subprocess.Popen(["make", "run"], cwd=clone, env=environment(first), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            until(lambda running=running: b"ready;" in (clone / "up.log").read_bytes() or running.poll() is not None, INSTALL_AND_START_SECONDS, "make run")  # type: ignore[misc]
            assert running.poll() is None, (clone / "up.log").read_text()
            champions.append([answer(clone, first + 2, "flights_late"), answer(clone, first + 3, "flights_airtime")])
            running.send_signal(signal_number)
            running.wait(240)
        assert not any(str(clone) in line for line in command_lines()), "no process is left"
    assert champions[0] == champions[1], "nothing was retrained"


def test_make_demo_closes_the_loop(clone: Path) -> None:
    started = time.monotonic()

    done = subprocess.run(["make", "demo"], cwd=clone, env=environment(free_ports(10)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    told = json.loads((clone / ".ratchet" / "demo.json").read_text())
    assert done.returncode == 0, done.stdout[-3000:]
    assert told["closed"]
    assert (told["decisions"], told["retrainings"], told["failed_requests"]) == (2, 2, 0)
    assert told["requests"] >= 5 * 20_000
    print(f"demo: {time.monotonic() - started:.0f} s with installation; drift to better answer {told['seconds_drift_to_better_answer']} s")


def answer(clone: Path, port: int, model: str) -> str:
    sample = json.loads((clone / "bentos" / model / "sample.json").read_text())
    return str(httpx.post(f"http://127.0.0.1:{port}/predict", json=sample, timeout=60).raise_for_status().json()["version"])


def command_lines() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
