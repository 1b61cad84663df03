"""Logs are archived and old archives deleted, and readers find each line once, whoever is killed or at work beside them."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from s3 import Bucket
from served import day, draw, prediction_lines, write_segment

from bentos.runtime.log import LogWriter
from deployments.commands.answered import find
from tasks.errors import PlatformError
from tasks.monitoring import keeping
from tasks.monitoring.keeping import Kept, keep_log, whole_lines
from tasks.monitoring.local_log import LocalLog
from tasks.monitoring.segments import Files, local_copy
from tasks.settings import Settings

BEGUN = datetime(2026, 11, 1, tzinfo=UTC)
NOW = BEGUN + timedelta(days=2)
YEAR = timedelta(days=400)
LINES = list(map(orjson.dumps, prediction_lines(draw(day("2013-04-01"), 30, 60))))


@pytest.fixture(params=["one machine", "shipped"])
def place(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """An installation that reads its log in place, or a shipped one."""
    return settings if request.param == "one machine" else settings.model_copy(update={"log_url": f"file://{tmp_path / 'shipped'}"})


@pytest.fixture
def shipped(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"log_url": f"file://{tmp_path / 'shipped'}"})


def folder(settings: Settings, kind: str = "predictions") -> Path:
    root = Path(settings.log_url.removeprefix("file://")) if settings.log_url else settings.logs
    return root / "late" / kind


def segments(settings: Settings, lines: list[bytes] = LINES, each: int = 20, first: int = 0, kind: str = "predictions") -> None:
    """Segments of `each` lines, begun an hour after each other."""
    for n in range(0, len(lines), each):
        begun = BEGUN + timedelta(hours=first + n // each)
        write_segment(folder(settings, kind), begun, b"".join(line + b"\n" for line in lines[n : n + each]), pod="late-1" if settings.log_url else "")


def keep(settings: Settings, now: datetime = NOW, how_long: timedelta = YEAR) -> Kept:
    return keep_log(settings, "late", how_long, now)


def names(settings: Settings, ending: str, kind: str = "predictions") -> list[str]:
    return sorted(path.name for path in folder(settings, kind).glob(f"*.{ending}"))


def read_ids(settings: Settings, kind: str = "predictions") -> list[str]:
    """The id of every line as readers find them."""
    files = Files.of(local_copy(settings, "late") / kind)
    ids = [orjson.loads(line)["id"] for path in files.segments for line in whole_lines(Path(path).read_bytes())]
    return ids + [name for path in files.archives for name in pq.read_table(path)["id"].to_pylist()]


def ids_of(lines: list[bytes]) -> list[str]:
    return [orjson.loads(line)["id"] for line in lines]


def killed(settings: Settings, where: str, how: str) -> None:
    """Run a call of `keep_log` that ends with kill -9 when it comes to `where`."""
    code = f"""
import os, signal, sys
from datetime import datetime, timedelta
from tasks.monitoring import keeping
from tasks.settings import Settings
from tasks.monitoring.local_log import LocalLog
from tasks.monitoring.segments import ShippedLog
import bentos.runtime.ship, tasks.monitoring.segments
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
{where}{how}
keeping.keep_log(Settings(home=sys.argv[1], log_url=sys.argv[2]), "late", timedelta(days=400), datetime.fromisoformat({NOW.isoformat()!r}))
"""
    done = subprocess.run([sys.executable, "-c", code, settings.home, settings.log_url], check=False)
    assert done.returncode == -signal.SIGKILL


def test_segments_become_one_archive_and_are_deleted_by_the_next_call(place: Settings) -> None:
    segments(place)

    assert keep(place) == Kept(archived=1)
    assert len(names(place, "jsonl")) == 3
    assert Counter(read_ids(place)) == Counter(ids_of(LINES))

    assert keep(place) == Kept()
    assert names(place, "jsonl") == []
    assert len(names(place, "parquet")) == 1
    assert sorted(read_ids(place)) == sorted(ids_of(LINES))


def test_a_copy_made_before_keeps_no_line_twice(shipped: Settings) -> None:
    segments(shipped)
    for _ in range(3):
        assert sorted(read_ids(shipped)) == sorted(ids_of(LINES))
        keep(shipped)


def test_what_is_young_and_little_waits(place: Settings) -> None:
    segments(place)

    assert keep(place, BEGUN + timedelta(days=1)) == Kept()
    assert keep(place, BEGUN + timedelta(days=1, seconds=1)) == Kept(archived=1)


def test_an_archive_is_read_by_no_more_people_than_the_log(settings: Settings) -> None:
    LogWriter(folder(settings)).close()
    segments(settings)
    assert keep(settings) == Kept(archived=1)

    modes = {
        path.suffix: path.stat().st_mode & 0o777 for path in sorted(folder(settings).iterdir(), reverse=True)
    }  # of segments the writer's own, which is newer
    assert modes[".parquet"] & 0o007 == 0


def test_a_quiet_log_is_archived_once_a_day_at_most(shipped: Settings) -> None:
    """Its segment was begun long ago, and pieces of it come every minute."""
    now = BEGUN + timedelta(days=5)
    archived = 0
    for n, line in enumerate(LINES):
        now += timedelta(hours=1)
        wall = orjson.dumps(orjson.loads(line) | {"wall_time": now.isoformat()})
        write_segment(folder(shipped), BEGUN, wall + b"\n", pod="late-1", start=n * 1_000)
        archived += keep(shipped, now).archived

    assert archived == 3
    assert sorted(read_ids(shipped)) == sorted(ids_of(LINES))


def test_much_is_archived_at_once_and_in_parts(place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FULL", 2 * 20 * len(LINES[0]) + 2_000)
    segments(place)

    assert keep(place, BEGUN) == Kept(archived=1)
    assert keep(place, BEGUN) == Kept()
    assert len(names(place, "jsonl")) == 1, "the rest is young"
    assert keep(place, BEGUN + timedelta(days=30)) == Kept(archived=1)
    assert sorted(read_ids(place)) == sorted(ids_of(LINES))


def test_an_open_segment_is_left_alone_until_its_writer_is_gone(settings: Settings) -> None:
    writer = LogWriter(folder(settings))
    for n in range(5):
        writer.append([{"id": f"r-{n}"}])
    later = datetime.now(UTC) + timedelta(days=9)

    assert keep(settings, later) == Kept()
    writer.append([{"id": "r-5"}])
    writer.close()
    assert keep(settings, later) == Kept(archived=1)
    keep(settings, later)
    assert names(settings, "jsonl") == []
    assert pq.read_table(next(folder(settings).glob("*.parquet"))).num_rows == 6


def test_an_empty_segment_that_nobody_holds_is_deleted(settings: Settings) -> None:
    LogWriter(folder(settings)).close()
    held = LogWriter(folder(settings))

    assert keep(settings) == Kept()

    assert names(settings, "jsonl") == [held.path.name]
    held.close()


def test_a_segment_that_grew_since_it_was_looked_at_is_not_deleted(settings: Settings) -> None:
    """Its writer had made it and not locked it yet."""
    path = write_segment(folder(settings), BEGUN, b"")
    log = LocalLog(f"file://{settings.logs}", "late")
    pieces = log.pieces()
    path.write_bytes(LINES[0] + b"\n")

    log.remove(pieces)

    assert read_ids(settings) == ids_of(LINES[:1])
    log.remove(log.pieces())
    assert not path.exists()


def test_a_torn_last_line_is_left_out_and_garbage_is_kept(settings: Settings) -> None:
    write_segment(folder(settings), BEGUN, b"garbage\n" + LINES[0] + b"\n" + LINES[1][:50])

    keep(settings)

    rows = pq.read_table(next(folder(settings).glob("*.parquet"))).to_pylist()
    assert [(row["id"], row["line"]) for row in rows] == [(ids_of(LINES)[0], None), (None, b"garbage")]


def test_files_that_no_server_named_are_left_alone(place: Settings) -> None:
    segments(place)
    (folder(place) / "restored.jsonl").write_bytes(b'{"id":"old"}\n')

    keep(place)
    keep(place)

    assert names(place, "jsonl") == ["restored.jsonl"]
    assert "old" in read_ids(place)


def test_an_archive_goes_when_its_newest_line_is_too_old(place: Settings) -> None:
    segments(place, [orjson.dumps(orjson.loads(line) | {"wall_time": "2026-11-01T06:00:00+00:00"}) for line in LINES])
    label = {"v": 1, "label": True, "time": "2013-05-01T00:00:00+00:00", "wall_time": "2026-11-01T06:00:00+00:00"}
    segments(place, [orjson.dumps(label | {"id": name}) for name in ids_of(LINES)], kind="feedback")
    last = BEGUN + timedelta(hours=6)
    keep(place)
    keep(place)

    assert keep(place, last + YEAR) == Kept()
    assert keep(place, last + YEAR + timedelta(seconds=1)) == Kept(expired=2)
    assert (names(place, "parquet"), names(place, "parquet", "feedback")) == ([], [])
    assert read_ids(place) == []


def test_segments_that_are_too_old_go_with_their_archive_and_never_come_back(place: Settings) -> None:
    segments(place)
    much_later = NOW + 2 * YEAR

    assert [keep(place, much_later) for _ in range(4)] == [Kept(archived=1), Kept(), Kept(expired=1), Kept()]
    assert read_ids(place) == []


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("bentos.runtime.ship.Path.replace", " = die"),
        ("keeping._archive = (lambda archive: lambda *given: (archive(*given), die()))", "(keeping._archive)"),
    ],
    ids=["half written", "after"],
)
def test_kill_9_while_archiving_loses_and_doubles_nothing(place: Settings, where: str, how: str) -> None:
    segments(place)

    killed(place, where, how)

    assert sorted(read_ids(place)) == sorted(ids_of(LINES))
    keep(place)
    keep(place)
    assert sorted(read_ids(place)) == sorted(ids_of(LINES))
    assert names(place, "jsonl") == []
    assert len(names(place, "parquet")) == 1
    assert not list(folder(place).glob("*.part"))


@pytest.mark.parametrize("deleted", [0, 1])
def test_kill_9_between_writing_and_deletion_loses_and_doubles_nothing(place: Settings, deleted: int) -> None:
    segments(place)
    keep(place)

    log = "ShippedLog" if place.log_url else "LocalLog"
    killed(place, f"remove = {log}.remove; {log}.remove = lambda log, files: (remove(log, list(files)[:{deleted}]), die())", "")

    assert len(names(place, "jsonl")) == 3 - deleted
    assert sorted(read_ids(place)) == sorted(ids_of(LINES))
    assert keep(place) == Kept()
    assert names(place, "jsonl") == []
    assert sorted(read_ids(place)) == sorted(ids_of(LINES))


def test_an_archive_that_lies_in_another_one_is_left_out_and_deleted_before_the_segments(shipped: Settings) -> None:
    segments(shipped, LINES[:40])
    keep(shipped)
    (small,) = folder(shipped).glob("*.parquet")
    kept = small.read_bytes()
    small.unlink()
    segments(shipped, LINES[40:], first=2)
    keep(shipped)
    small.write_bytes(kept)

    assert len(names(shipped, "parquet")) == 2
    assert sorted(read_ids(shipped)) == sorted(ids_of(LINES))
    keep(shipped)
    assert (len(names(shipped, "parquet")), names(shipped, "jsonl")) == (1, [])
    assert not small.exists()
    assert sorted(read_ids(shipped)) == sorted(ids_of(LINES))


def test_archives_that_overlap_both_stay(shipped: Settings) -> None:
    segments(shipped, LINES[:40])
    keep(shipped)
    segments(shipped)
    (folder(shipped) / names(shipped, "jsonl")[0]).unlink()
    (one,) = folder(shipped).glob("*.parquet")
    kept = one.read_bytes()
    one.unlink()
    keep(shipped)
    one.write_bytes(kept)

    assert set(read_ids(shipped)) == set(ids_of(LINES))
    for _ in range(2):
        keep(shipped)
    assert (len(names(shipped, "parquet")), names(shipped, "jsonl")) == (2, [])
    assert set(read_ids(shipped)) == set(ids_of(LINES))
    assert find(local_copy(shipped), ids_of(LINES)[30]) is not None


def test_only_one_call_is_at_work_on_one_machine(settings: Settings) -> None:
    segments(settings)
    with keeping.alone(settings.logs / "late"):
        assert keep(settings) == Kept()
    assert keep(settings) == Kept(archived=1)


def test_no_log_is_nothing_to_do(place: Settings) -> None:
    assert keep(place) == Kept()


def test_a_row_is_found_in_segments_and_in_archives(place: Settings) -> None:
    segments(place, LINES[:40])
    keep(place)
    keep(place)
    segments(place, LINES[40:], first=60)

    for name in (ids_of(LINES)[0], ids_of(LINES)[59]):
        line = find(local_copy(place), name)
        assert line is not None
        assert line.id == name
    assert find(local_copy(place), "r-none") is None


def test_calls_killed_anywhere_beside_a_reader_lose_and_double_nothing(settings: Settings) -> None:
    """A server writes, calls are killed, a reader counts: every line once, and none that was there is ever gone."""
    done, seen, written, kills = threading.Event(), [0], [0], [0]
    code = "import sys; from datetime import *; from tasks.monitoring import keeping; from tasks.settings import Settings\n"
    code += "def keep(): keeping.keep_log(Settings(home=sys.argv[1]), 'late', timedelta(days=400), datetime.now(UTC))\n"
    code += "keeping.FULL = 30_000; keep(); print('ready', flush=True)\n"
    code += "while True: keep()"

    def archiving() -> None:
        while not done.is_set():
            with subprocess.Popen([sys.executable, "-c", code, settings.home], stdout=subprocess.PIPE) as keeper:
                assert keeper.stdout is not None
                keeper.stdout.readline()
                time.sleep(random.uniform(0, 0.3))
                keeper.kill()
                kills[0] += 1

    def reading() -> None:
        while not done.is_set():
            before = written[0]
            try:
                found = Counter(read_ids(settings))
            except FileNotFoundError:
                continue
            assert set(found.values()) <= {1}
            assert len(found) >= before, "a line that was there is gone"
            seen[0] += 1

    threads = [threading.Thread(target=each) for each in (archiving, reading)]
    writer = LogWriter(folder(settings), segment=10_000)
    for thread in threads:
        thread.start()
    until = time.monotonic() + 150
    while time.monotonic() < until and not (kills[0] >= 3 and seen[0] >= 10 and len(names(settings, "parquet")) >= 4):
        writer.append([orjson.loads(LINES[0]) | {"id": f"r-{written[0] + n}"} for n in range(5)])
        written[0] += 5
        time.sleep(0.005)
    done.set()
    for thread in threads:
        thread.join()
    writer.close()
    assert seen[0] >= 10
    assert len(names(settings, "parquet")) >= 4
    for _ in range(2):
        keep(settings, datetime.now(UTC) + timedelta(days=30))
    assert Counter(read_ids(settings)) == Counter(f"r-{n}" for n in range(written[0]))
    assert names(settings, "jsonl") == []


def test_an_s3_log_is_archived_and_read_and_two_calls_at_once_do_no_harm(settings: Settings, s3: Bucket) -> None:
    there = settings.model_copy(update={"log_url": f"{s3.url}/log"})
    local = settings.model_copy(update={"log_url": f"file://{s3.folder / 'log'}"})
    segments(local)
    both = [threading.Thread(target=keep, args=(there,)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()

    assert sorted(read_ids(there)) == sorted(ids_of(LINES))
    keep(there)
    assert (len(names(local, "parquet")), names(local, "jsonl")) == (1, [])
    assert sorted(read_ids(there)) == sorted(ids_of(LINES))
    assert keep(there, NOW + 2 * YEAR) == Kept(expired=1)
    assert read_ids(there) == []


def test_a_store_that_is_away_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(PlatformError, match="AWS_"):
        keep(settings.model_copy(update={"log_url": "s3://nowhere/log"}))
