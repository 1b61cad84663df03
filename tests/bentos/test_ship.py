"""Every line that was answered is in the store exactly once, whoever is killed and whenever the store is away."""

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Refused
from bentos.runtime.log import LogWriter
from bentos.runtime.ship import Shipper

KIND = "late/predictions"
WRITER = """
import sys
from pathlib import Path
from bentos.runtime.log import LogWriter
writer = LogWriter(Path(sys.argv[1]), segment=4_000)
n = 0
while True:
    name = f"{sys.argv[2]}-{n}"
    writer.append([{"id": f"{name}-{i}", "pad": "x" * 40} for i in range(1 + n % 3)])
    for i in range(1 + n % 3):
        print(f"{name}-{i}")
    sys.stdout.flush()
    n += 1
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "log" / KIND).mkdir(parents=True)
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def ship(logs: Path, store: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the program and waits until it is at work; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, before: str = "") -> "subprocess.Popen[str]":
        code = f"import os, signal, sys; from bentos.runtime import ship; {before}\nsys.exit(ship.main())"
        arguments = ["--folder", str(logs), "--url", f"file://{store}", "--pod", "late-1", "--interval-seconds", "0.02", *options]
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr
        assert process.stderr.readline() == f"ship: ships {logs} to file://{store}\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def objects(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*.jsonl"))}


def ids(store: Path) -> list[str]:
    """Of every line of every object as it lies there: nothing is left out twice."""
    return [orjson.loads(line)["id"] for data in objects(store).values() for line in data.splitlines()]


def until(true: Callable[[], Any], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """End it as the kubelet does; returns its exit code and what it told that was not read yet."""
    assert process.stderr
    process.terminate()
    told = process.stderr.read()
    return process.wait(90), told


def test_new_whole_lines_go_into_objects_named_by_segment_and_first_byte(logs: Path, store: Path) -> None:
    shipper, writer = Shipper(logs, f"file://{store}", "late-1"), LogWriter(logs / KIND)
    writer.append([{"id": "a"}])
    shipper.round()
    writer.append([{"id": "b"}, {"id": "c"}])
    with writer.path.open("ab") as file:
        file.write(b'{"id":"torn')
    shipper.round()
    shipper.round()

    stem = writer.path.stem
    assert objects(store) == {
        f"{KIND}/late-1-{stem}-000000000000.jsonl": b'{"id":"a"}\n',
        f"{KIND}/late-1-{stem}-000000000011.jsonl": b'{"id":"b"}\n{"id":"c"}\n',
    }
    assert writer.path.exists(), "its writer lives"


def test_a_complete_segment_is_deleted_once_it_is_shipped(logs: Path, store: Path) -> None:
    shipper, writer = Shipper(logs, f"file://{store}", "late-1"), LogWriter(logs / KIND, segment=1_000)
    for n in range(40):
        writer.append([{"id": str(n), "pad": "x" * 80}])
        if n % 7 == 0:
            shipper.round()
    shipper.round()

    assert [path.name for path in (logs / KIND).glob("*.jsonl")] == [writer.path.name]
    assert Counter(ids(store)) == Counter(map(str, range(40)))

    writer.close()
    shipper.round()
    assert [path for path in logs.rglob("*") if path.is_file()] == [logs / ".shipper"], "no note is left behind"


def test_sigterm_ships_what_is_left_of_every_model_and_kind(logs: Path, store: Path, ship: Callable[..., Any]) -> None:
    process = ship("--interval-seconds", "60")
    for kind in (KIND, "late/feedback", "price/predictions"):
        writer = LogWriter(logs / kind)
        writer.append([{"id": kind}])
        writer.close()

    code, told = end(process)

    assert (code, told) == (0, "ship: every line is in the store: 0 segment(s) are left\n")
    assert sorted(ids(store)) == sorted([KIND, "late/feedback", "price/predictions"])


def test_a_store_that_is_away_is_told_once_and_costs_nothing(logs: Path, store: Path, ship: Callable[..., Any]) -> None:
    store.write_text("a file where a folder should be")
    writer = LogWriter(logs / KIND, segment=1_000)
    process = ship()
    for n in range(40):
        writer.append([{"id": str(n), "pad": "x" * 80}])
    told_first = process.stderr.readline()
    time.sleep(0.2)
    store.unlink()
    until(lambda: store.exists() and len(ids(store)) == 40)
    writer.close()

    code, told = end(process)

    assert re.fullmatch(r"ship: cannot ship, and tries again: \w+: .*store.*\n", told_first)
    assert (code, told) == (0, "ship: ships again\nship: every line is in the store: 0 segment(s) are left\n")
    assert Counter(ids(store)) == Counter(map(str, range(40)))


def test_a_store_that_stays_away_at_the_end_is_told_and_the_lines_stay(logs: Path, store: Path, ship: Callable[..., Any]) -> None:
    store.write_text("a file where a folder should be")
    writer = LogWriter(logs / KIND)
    writer.append([{"id": "a"}])
    writer.close()

    code, told = end(ship("--grace-seconds", "0.5"))

    assert (code, told.splitlines()[-1]) == (1, "ship: lines are not in the store: 1 segment(s) are left")
    assert writer.path.read_bytes() == b'{"id":"a"}\n'


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_9_at_a_put_changes_no_object_afterwards(logs: Path, store: Path, ship: Callable[..., Any], moment: str) -> None:
    """More lines have come meanwhile: they go into the next object, so that who has read the first one has read all of it."""
    writer = LogWriter(logs / KIND)
    writer.append([{"id": "a"}])
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    ship(before=f"put = ship.put; ship.put = lambda *a: ({kill if moment == 'before' else 'put(*a)'}, {kill})").wait(90)
    seen = objects(store)
    writer.append([{"id": "b"}])
    writer.close()

    until(lambda process=ship(): len(ids(store)) == 2)

    assert list(objects(store).values()) == [b'{"id":"a"}\n', b'{"id":"b"}\n']
    assert moment == "before" or seen.items() <= objects(store).items()


def test_a_second_shipper_of_a_folder_refuses(logs: Path, store: Path, ship: Callable[..., Any]) -> None:
    ship()

    with pytest.raises(BlockingIOError):
        Shipper(logs, f"file://{store}", "late-1")


def test_lines_that_the_disk_cut_off_leave_no_gap(logs: Path, store: Path) -> None:
    """A shipper may have seen whole lines of a write that was then cut off: what is written next goes into another segment."""
    shipper, writer = Shipper(logs, f"file://{store}", "late-1"), LogWriter(logs / KIND)
    writer.append([{"id": "a"}])
    real, os.write = os.write, lambda file, data: (real(file, data[:20]), shipper.round())[0]
    try:
        with pytest.raises(OSError, match="the disk took 20 of"):
            writer.append([{"id": "unanswered"}, {"id": "torn"}])
    finally:
        os.write = real
    writer.append([{"id": "b"}])
    writer.close()
    shipper.round()

    assert Counter(ids(store)) - Counter(["unanswered"]) == Counter(["a", "b"])
    assert shipper.segments() == []


def test_an_endpoint_at_its_budget_answers_503_and_again_200_when_its_lines_are_shipped(
    endpoint: Callable[..., Endpoint], row: dict[str, Any], tmp_path: Path, store: Path
) -> None:
    served, body = endpoint(log_bytes=20_000), orjson.dumps({"rows": [row]})

    def status() -> int:
        try:
            return 200 if served.predict(body) else 0
        except Refused as refused:
            return int(refused.status)

    statuses = [status() for _ in range(100)]
    Shipper(tmp_path / "log", f"file://{store}", "late-1").round()

    assert (set(statuses), statuses[0], statuses[-1], status()) == ({200, 503}, 200, 503, 200)
    assert len(ids(store)) == statuses.count(200)


def test_every_acknowledged_line_is_shipped_exactly_once_whoever_is_killed(logs: Path, store: Path, ship: Callable[..., Any], tmp_path: Path) -> None:
    chance = random.Random(7)
    shipper = ship()
    acknowledged: set[str] = set()
    for round_ in range(12):
        with (tmp_path / "answered").open("w+") as answered:
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(logs / KIND), f"w{round_}"], stdout=answered)
            until(lambda file=answered: os.fstat(file.fileno()).st_size > 1_000)
            for _ in range(chance.randint(0, 2)):
                time.sleep(chance.uniform(0, 0.3))
                shipper.kill()
                shipper = ship()
            time.sleep(chance.uniform(0, 0.2))
            writer.kill()
            writer.wait()
            answered.seek(0)
            acknowledged |= {line.strip() for line in answered if line.endswith("\n")}

    code, told = end(shipper)

    assert (code, told) == (0, "ship: every line is in the store: 0 segment(s) are left\n")
    found = Counter(ids(store))
    assert len(acknowledged) > 1_000
    assert acknowledged <= found.keys()
    assert [name for name, times in found.items() if times > 1] == []
