"""What Prefect costs: the train flow from Running to Completed, against the same calls in a fresh interpreter, imports in both.

`make bench` prints the ratio; the goal is 1.15. The pairs alternate, so that both see the same machine.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from platform_up import Platform

MODEL, PAIRS = "flights_late", 5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def flow_seconds(platform: Platform) -> float:
    run = platform.start(f"train/{MODEL}", {"model": MODEL})
    assert platform.finished(run) == "COMPLETED"
    return float(httpx.get(f"{platform.env['PREFECT_API_URL']}/flow_runs/{run}").json()["total_run_time"])


def bare_seconds(platform: Platform) -> float:
    script = Path(__file__).with_name("train_calls.py")
    done = subprocess.run(
        [sys.executable, str(script), MODEL], env=platform.env | {"OMP_NUM_THREADS": "1"}, cwd=platform.project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def test_the_train_flow_against_the_bare_calls(platform: Platform) -> None:
    pairs = [(flow_seconds(platform), bare_seconds(platform)) for _ in range(PAIRS)]

    flow, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(json.dumps({"train_flow_seconds": round(flow, 2), "bare_seconds": round(bare, 2), "ratio": round(flow / bare, 3), "pairs": PAIRS}))
    assert all(side > 0 for pair in pairs for side in pair)
