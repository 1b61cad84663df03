"""A drill: serving processes are killed under load, again and again, and whatever a caller was told is in the log exactly once."""

import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import hosting
from callers import HEADERS

from tasks.release.local import LocalTarget

CALLERS = 6
LABELS = itertools.count()  # no two labels are the same, so that each line of the feedback log has one request


@dataclass
class Heard:
    """What callers were told, who never ask again for what got no reply."""

    ids: list[str] = field(default_factory=list)
    labels: list[tuple[str, float]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)


def call(port: int, heard: Heard, done: threading.Event, rows: int) -> None:
    """Ask on one connection as fast as it answers, and send back a label for each second reply."""
    asked = json.dumps({"rows": [{"x": x} for x in range(rows)]})
    connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def post(path: str, body: str) -> bytes:
        connection.request("POST", path, body, HEADERS)
        response = connection.getresponse()
        told = response.read()
        if response.status not in {200, 202}:
            heard.refused.append(told)
        return told

    while not done.is_set():
        with suppress_loss(heard, connection):
            for label in (False, True):
                ids = [answer["id"] for answer in json.loads(post("/predict", asked))["answers"]]
                heard.ids += ids
                if label:
                    labels = [(name, float(next(LABELS))) for name in ids]
                    post("/feedback", json.dumps({"labels": [{"id": name, "label": value} for name, value in labels]}))
                    heard.labels += labels
    connection.close()


@contextmanager
def suppress_loss(heard: Heard, connection: HTTPConnection) -> Iterator[None]:
    """A request whose process died is counted, and its connection made anew."""
    try:
        yield
    except (HTTPException, OSError) as err:
        heard.lost.append(repr(err))
        connection.close()


def kill_all(supervisor: int) -> int:
    """Kill -9 every serving process at once; returns how many there were."""
    pids = [int(pid) for path in Path(f"/proc/{supervisor}/task").glob("*/children") for pid in path.read_text().split()]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def hear_more(heard: Heard) -> None:
    """Wait until callers are answered again."""
    before, until = len(heard.ids), time.monotonic() + 60
    while len(heard.ids) < before + 500:
        assert time.monotonic() < until, heard.lost[-3:]
        time.sleep(0.01)


def kill_and_hear(supervisor: int, heard: Heard) -> int:
    """Kill what serves in the middle of its work, and wait for the next."""
    killed = kill_all(supervisor)
    hear_more(heard)
    return killed


def lines_in(folder: Path) -> list[dict[str, object]]:
    """Every line of a log; only the very last of a segment may be torn, which its writer's death leaves."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        *whole, _ = path.read_bytes().split(b"\n")
        found += [json.loads(line) for line in whole]
    return found


def test_every_answer_and_label_is_in_the_log_exactly_once_though_every_serving_process_is_killed_again_and_again(tmp_path: Path) -> None:
    settings, heard, done = hosting.settings(tmp_path, drain_seconds=300.0), Heard(), threading.Event()
    target = LocalTarget(settings)
    first, store = hosting.stored(hosting.bento(1.0), 1)
    second, _ = hosting.stored(hosting.bento(2.0), 2)
    with hosting.supervisor(settings) as supervisor:
        target.apply(first, store)
        target.wait_ready(first, 120)
        port = target.status()["toy"].port
        callers = [threading.Thread(target=call, args=(port, heard, done, 1 if i % 2 else 7)) for i in range(CALLERS)]
        for caller in callers:
            caller.start()
        hear_more(heard)

        killed = [kill_and_hear(supervisor.pid, heard) for _ in range(2)]
        idle = HTTPConnection("127.0.0.1", port, timeout=60)
        idle.request("GET", "/readyz")
        idle.getresponse().read()  # it stays open, and so does the process that it leads to
        target.apply(second, store)
        target.wait_ready(second, 120)
        killed += [kill_and_hear(supervisor.pid, heard) for _ in range(2)]
        done.set()
        for caller in callers:
            caller.join()
        idle.close()

    answered = Counter(str(line["id"]) for line in lines_in(settings.logs / "toy" / "predictions"))
    labelled = Counter((str(line["id"]), line["label"]) for line in lines_in(settings.logs / "toy" / "feedback"))
    print(f"killed {killed}, {len(heard.ids):,} answers and {len(heard.labels):,} labels heard, {len(heard.lost)} requests lost, ", end="")
    print(f"{answered.total() - len(heard.ids)} answers and {labelled.total() - len(heard.labels)} labels logged that nobody heard")
    assert killed == [1, 1, 2, 1] and len(heard.lost) >= CALLERS, "it met callers at work, and once two generations"
    assert heard.refused == []
    assert {answered[name] for name in heard.ids} == {labelled[label] for label in heard.labels} == {1}
    assert set(answered.values()) == set(labelled.values()) == {1}
