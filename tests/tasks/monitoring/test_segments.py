"""Readers of a shipped log find each line once, whatever is merged meanwhile and wherever a merge was killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from served import day, draw, send

from bentos.runtime.log import LogWriter, read_lines
from bentos.runtime.ship import Shipper
from deployments.commands.answered import find
from tasks.errors import PlatformError
from tasks.ledger.chain import Ledger
from tasks.monitoring.judge import Judged, judge
from tasks.monitoring.keeping import keep_log
from tasks.monitoring.pieces import Piece, needed, runs
from tasks.monitoring.segments import ENOUGH, ShippedLog, local_copy
from tasks.settings import Settings
from tasks.spec import ModelSpec
from tasks.store import Store


@pytest.fixture
def shipped(settings: Settings, tmp_path: Path) -> Settings:
    """The settings of an installation whose log is shipped."""
    return settings.model_copy(update={"log_url": f"file://{tmp_path / 'shipped'}", "home": tmp_path / "reader"})


@pytest.fixture
def serve(settings: Settings, shipped: Settings) -> Callable[..., None]:
    """Writes lines `first` to `last` in segments of a few hundred bytes and ships after each of them."""

    def write(first: int, last: int, kind: str = "predictions", pod: str = "late-1", lines: int = 1) -> None:
        writer, shipper = LogWriter(settings.logs / "late" / kind, segment=2_000), Shipper(settings.logs, shipped.log_url, pod)
        for n in range(first, last, lines):
            writer.append([{"id": str(m), "pad": "x" * 20} for m in range(n, n + lines)])
            shipper.round()
        writer.close()
        shipper.round()

    return write


def compact(settings: Settings, model: str) -> int:
    """How many pieces are merged; nothing is old enough to be archived."""
    return keep_log(settings, model, timedelta(days=400), datetime.now(UTC)).merged


def ids(folder: Path) -> list[str]:
    """Of every line as it lies there."""
    return [orjson.loads(line)["id"] for line in read_lines(folder)]


def shipped_ids(settings: Settings, kind: str = "predictions") -> list[str]:
    return ids(Path(settings.log_url.removeprefix("file://")) / "late" / kind)


def read_ids(settings: Settings, kind: str = "predictions") -> list[str]:
    return ids(local_copy(settings, "late") / kind)


def numbers(first: int, last: int) -> list[str]:
    return list(map(str, range(first, last)))


def test_on_one_machine_the_log_is_read_where_it_is(settings: Settings) -> None:
    assert local_copy(settings, "late") == settings.logs / "late"
    assert local_copy(settings) == settings.logs
    assert compact(settings, "late") == 0


def test_a_copy_has_every_line_and_keeps_up(shipped: Settings, serve: Callable[..., None]) -> None:
    assert read_ids(shipped) == []

    serve(0, 30)
    assert read_ids(shipped) == numbers(0, 30)

    serve(30, 50)
    serve(0, 10, "feedback")
    assert read_ids(shipped) == numbers(0, 50)
    assert read_ids(shipped, "feedback") == numbers(0, 10)


def test_only_what_is_new_is_fetched(shipped: Settings, serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    serve(0, 30)
    read_ids(shipped)
    serve(30, 35)
    fetched: list[Piece] = []
    fetch = ShippedLog.fetch
    monkeypatch.setattr(ShippedLog, "fetch", lambda log, pieces, folder: (fetched.extend(pieces), fetch(log, fetched, folder)))

    assert read_ids(shipped) == numbers(0, 35)
    assert len(fetched) == 5


def test_compaction_leaves_one_piece_of_each_segment_and_the_same_lines(shipped: Settings, serve: Callable[..., None]) -> None:
    serve(0, 200)
    before = ShippedLog(shipped.log_url, "late").pieces()
    segments = {piece.segment for piece in before}

    assert 200 - ENOUGH < compact(shipped, "late") <= 200, "the last segment may have too few"
    assert read_ids(shipped) == numbers(0, 200)
    assert compact(shipped, "late") == 0

    after = ShippedLog(shipped.log_url, "late").pieces()
    assert len(before) == 200
    assert len(after) < len(segments) + ENOUGH
    assert shipped_ids(shipped) == read_ids(shipped) == numbers(0, 200)


def test_a_copy_made_before_a_compaction_keeps_no_line_twice(shipped: Settings, serve: Callable[..., None]) -> None:
    serve(0, 100)
    read_ids(shipped)

    for _ in range(2):
        compact(shipped, "late")
        assert read_ids(shipped) == numbers(0, 100)


def test_a_growing_segment_is_merged_again_and_again(settings: Settings, shipped: Settings) -> None:
    writer, shipper = LogWriter(settings.logs / "late" / "predictions"), Shipper(settings.logs, shipped.log_url, "late-1")
    for n in range(100):
        writer.append([{"id": str(n)}])
        shipper.round()
        if n % 10 == 0:
            compact(shipped, "late")
    compact(shipped, "late")
    compact(shipped, "late")

    assert shipped_ids(shipped) == read_ids(shipped) == numbers(0, 100)
    assert len(ShippedLog(shipped.log_url, "late").pieces()) < ENOUGH


def test_a_piece_that_a_shipper_puts_again_is_left_out_and_deleted(shipped: Settings, serve: Callable[..., None]) -> None:
    serve(0, 40)
    folder = Path(shipped.log_url.removeprefix("file://")) / "late" / "predictions"
    kept = {path: path.read_bytes() for path in folder.glob("*.jsonl")}
    compact(shipped, "late")
    compact(shipped, "late")
    for path in list(kept)[:3]:
        path.write_bytes(kept[path])

    assert len(shipped_ids(shipped)) == 43
    assert read_ids(shipped) == numbers(0, 40)
    compact(shipped, "late")
    assert shipped_ids(shipped) == numbers(0, 40)


def test_other_files_are_read_as_they_are_and_never_merged(shipped: Settings, serve: Callable[..., None]) -> None:
    serve(0, 40)
    other = Path(shipped.log_url.removeprefix("file://")) / "late" / "predictions" / "restored.jsonl"
    other.write_bytes(b'{"id":"old"}\n')

    compact(shipped, "late")

    assert Counter(read_ids(shipped)) == Counter([*numbers(0, 40), "old"])
    assert other.exists()


@pytest.mark.parametrize("deleted", [0, 1, 7])
def test_kill_9_in_mid_deletion_leaves_each_line_once(shipped: Settings, serve: Callable[..., None], deleted: int) -> None:
    serve(0, 100)
    compact(shipped, "late")
    code = f"""
import os, signal, sys
from datetime import UTC, datetime, timedelta
from tasks.monitoring import segments
from tasks.monitoring.keeping import keep_log
from tasks.settings import Settings
remove = segments.ShippedLog.remove
segments.ShippedLog.remove = lambda log, pieces: (remove(log, list(pieces)[:{deleted}]), os.kill(os.getpid(), signal.SIGKILL))
keep_log(Settings(log_url=sys.argv[1]), "late", timedelta(days=400), datetime.now(UTC))
"""

    killed = subprocess.run([sys.executable, "-c", code, shipped.log_url], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert len(shipped_ids(shipped)) > 100, "a part is there twice"
    assert read_ids(shipped) == numbers(0, 100)
    compact(shipped, "late")
    assert shipped_ids(shipped) == read_ids(shipped) == numbers(0, 100)


def test_compactions_killed_anywhere_beside_a_shipper_and_a_reader_lose_and_double_nothing(shipped: Settings, serve: Callable[..., None]) -> None:
    done, seen = threading.Event(), [0]
    code = "import sys, time; from datetime import *; from tasks.monitoring.keeping import keep_log; from tasks.settings import Settings\n"
    code += "while True: keep_log(Settings(log_url=sys.argv[1]), 'late', timedelta(days=400), datetime.now(UTC)); time.sleep(0.1)"
    # Not by a thread of this process: what it forks would hold the shipper's lock until it has become another program.
    kills = 'RANDOM=3; while :; do for _ in 1 2; do timeout --foreground -s KILL 1.$((RANDOM % 10)) "$0" -c "$1" "$2" 2>/dev/null & done; wait; done'
    compacting = subprocess.Popen(["bash", "-c", kills, sys.executable, code, shipped.log_url], start_new_session=True, stderr=subprocess.DEVNULL)

    def reading() -> None:
        while not done.is_set():
            found = Counter(map(int, read_ids(shipped)))
            assert set(found.values()) <= {1}
            assert len(found) >= seen[0], "a line that was there is gone"
            seen[0] = len(found)

    reader = threading.Thread(target=reading)
    reader.start()
    until, last = time.monotonic() + 5, 0
    try:
        while time.monotonic() < until or not (seen[0] or time.monotonic() > until + 60):
            serve(last, last + 300, lines=3)
            last += 300
    finally:
        os.killpg(compacting.pid, signal.SIGKILL)
        compacting.wait()
        done.set()
        reader.join()
    compact(shipped, "late")
    compact(shipped, "late")

    assert sorted(map(int, shipped_ids(shipped))) == sorted(map(int, read_ids(shipped))) == list(range(last))
    assert seen[0] > 0


def test_a_shipped_log_is_judged_as_the_log_itself(spec: ModelSpec, settings: Settings, shipped: Settings, ledger: Ledger, folder: Path) -> None:
    def judged(settings: Settings) -> list[Judged]:
        return judge(spec, settings, Store(settings.store), ledger.read(), lambda frame: (False, ()))

    shipped = shipped.model_copy(update={"store_url": settings.store})
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1))
    here = judged(settings)
    Shipper(settings.logs, shipped.log_url, "late-1").round()

    (there,) = judged(shipped)

    assert [there.row.model_copy(update={"report": ""})] == [each.row.model_copy(update={"report": ""}) for each in here]


def test_an_answered_row_is_found_in_any_models_shipped_log(settings: Settings, shipped: Settings, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 20))
    Shipper(settings.logs, shipped.log_url, "late-1").round()

    line = find(local_copy(shipped), "r-7")

    assert line is not None
    assert line.id == "r-7"


def test_a_store_that_cannot_be_read_is_told(shipped: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(PlatformError, match="AWS_"):
        local_copy(shipped.model_copy(update={"log_url": "s3://nowhere/log"}), "late")


def test_names_are_read_whatever_the_pod_is_called() -> None:
    piece = Piece.of("late/predictions/late-6f-x2-20130101T000000.000000Z-7-000000000120.jsonl", 30)
    merged = Piece.of("late/predictions/late-6f-x2-20130101T000000.000000Z-7-000000000150-000000000000.jsonl", 150)

    assert (piece.segment, piece.start, piece.end) == ("late/predictions/late-6f-x2-20130101T000000.000000Z-7", 120, 150)
    assert (merged.segment, merged.start, merged.end) == (piece.segment, 0, 150)
    assert merged.path > piece.path
    assert needed([piece, merged]) == [merged]


def test_a_gap_ends_a_run() -> None:
    pieces = [Piece("s", 0, 10, "a"), Piece("s", 10, 20, "b"), Piece("s", 30, 40, "c"), Piece("t", 40, 50, "d")]

    assert [[piece.path for piece in run] for run in runs(pieces)] == [["a", "b"], ["c"], ["d"]]
