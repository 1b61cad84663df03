"""A disk or a budget that is full: a clear 503 as long as it lasts, nothing answered that is not logged, and answers again by themselves."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from endpoint_up import JSON, EndpointUp, endpoint_up

from bentos.runtime.log import LogWriter, read_lines

CALLERS = 4
SMALL = 400  # KiB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}k", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


class Callers:
    """Callers of requests of different sizes on kept connections; `ids` were answered, `seen` counts replies by status and code."""

    def __init__(self, port: int) -> None:
        self.port, self.done = port, threading.Event()
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.seen: Counter[tuple[int, str]] = Counter()

    def call(self, rows: int) -> None:
        """Ask until it is over, and send back the labels of every answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.done.is_set():
            told = self._post(connection, "/predict", {"rows": [{"x": x} for x in range(rows)]})
            ids = [answer["id"] for answer in told.get("answers", [])]
            self.ids += ids
            if ids and "accepted" in self._post(connection, "/feedback", {"labels": [{"id": name, "label": 1.0} for name in ids]}):
                self.labels += ids
        connection.close()

    def _post(self, connection: HTTPConnection, path: str, body: object) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(body), JSON)
        response = connection.getresponse()
        told: dict[str, Any] = json.load(response)
        refused = told.get("error", {})
        assert not refused or set(refused) == {"code", "message", "fields"}
        assert response.status != 503 or response.headers["retry-after"] == "1"
        self.seen[response.status, refused.get("code", "")] += 1
        return told

    def replies(self, status: int) -> int:
        """How many replies had a status so far."""
        return sum(count for (each, _), count in list(self.seen.items()) if each == status)

    def until(self, status: int, count: int) -> None:
        """Wait until so many replies had a status."""
        until = time.monotonic() + 90
        while self.replies(status) < count:
            assert time.monotonic() < until, self.seen
            self.done.wait(0.01)


@contextmanager
def calling(up: EndpointUp) -> Iterator[Callers]:
    """Callers at work."""
    callers = Callers(up.port)
    threads = [threading.Thread(target=callers.call, args=(rows,)) for rows in (1, 3, 20, 60)[:CALLERS]]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.done.set()
        for thread in threads:
            thread.join()


def lines_of(folder: Path, into: list[str]) -> None:
    """Add the ids in a log to `into`; every line must be whole."""
    for path in sorted(folder.glob("*.jsonl")):
        *whole, torn = path.read_bytes().split(b"\n")
        assert torn == b""
        into += [json.loads(line)["id"] for line in whole]


def shipped(up: EndpointUp, kind: str, into: list[str]) -> None:
    """Take away the segments that nobody writes any more, as a shipper does: all but the newest."""
    for path in sorted((up.log / "toy" / kind).glob("*.jsonl"))[:-1]:
        into += [json.loads(line)["id"] for line in path.read_bytes().splitlines()]
        path.unlink()


def probes(up: EndpointUp) -> list[int]:
    return [up.client.get(path).status_code for path in ("/livez", "/readyz", "/metrics", "/v2/health/ready")]


def test_a_full_disk_is_a_503_until_there_is_room_again_and_every_answer_is_logged_once(tmp_path: Path, disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * (SMALL // 2 * 1024))

    with endpoint_up(tmp_path, disk / "log") as up:
        with calling(up) as callers:
            callers.until(503, 200)
            assert probes(up) == [200] * 4
            answered = len(callers.ids)
            callers.until(503, callers.replies(503) + 200)
            so_far = callers.replies(200)
            ballast.unlink()
            callers.until(200, so_far + 3)  # the room is gone again after some 20, more or fewer, in some hundredths of a second
            callers.until(503, callers.replies(503) + 200)
        metrics = up.client.get("/metrics").text
        assert up.process.poll() is None

    found: dict[str, list[str]] = {"predictions": [], "feedback": []}
    for kind, ids in found.items():
        lines_of(up.log / "toy" / kind, ids)
    assert {code for status, code in callers.seen if status == 503} == {"log"}
    assert {status for status, _ in callers.seen} <= {200, 202, 503}
    assert len(callers.ids) > answered > 0
    assert sorted(found["predictions"]) == sorted(callers.ids), "all that was answered, once, and nothing else"
    assert sorted(found["feedback"]) == sorted(callers.labels)
    refused = sum(count for (status, _), count in callers.seen.items() if status == 503)
    assert f'ratchet_drops_total{{model="toy",reason="log",version="20130101-1-1"}} {refused:.1f}' in metrics
    assert "Traceback" not in up.stderr.read_text()


def test_a_full_disk_is_not_littered_with_empty_segments(disk: Path) -> None:
    """A disk takes a part of a long line as long as it has a page left."""
    log = LogWriter(disk / "log")
    taken = []
    for _ in range(100):
        try:
            log.append([{"pad": "x" * 60_000}])
            taken.append(True)
        except OSError as err:
            assert "the disk took" in str(err)  # noqa: PT017  # which of them fail is the disk's affair
            taken.append(False)

    assert taken == [True] * sum(taken) + [False] * (100 - sum(taken))
    assert 0 < len(list(read_lines(disk / "log"))) == sum(taken) < 10
    assert len(list((disk / "log").iterdir())) <= 2


def test_a_log_at_its_budget_is_a_503_until_segments_are_shipped(tmp_path: Path) -> None:
    kept: dict[str, list[str]] = {"predictions": [], "feedback": []}

    with endpoint_up(tmp_path, tmp_path / "log", log_bytes="200_000") as up, calling(up) as callers:
        for _ in range(3):
            callers.until(503, callers.replies(503) + 50)
            assert probes(up) == [200] * 4
            so_far = callers.replies(200)
            for kind, ids in kept.items():
                shipped(up, kind, ids)
            callers.until(200, so_far + 3)

    for kind, ids in kept.items():
        lines_of(up.log / "toy" / kind, ids)
    assert {status for status, _ in callers.seen} <= {200, 202, 503}
    assert {code for status, code in callers.seen if status == 503} == {"log"}
    assert sorted(kept["predictions"]) == sorted(callers.ids)
    assert sorted(kept["feedback"]) == sorted(callers.labels)
    assert sum(path.stat().st_size for path in (up.log / "toy" / "predictions").iterdir()) <= 200_000
