"""An archive gives every line back as it was, whatever is in it, and finds one by its id."""

import math
import random
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from bentos.runtime.ids import Uuid7
from bentos.runtime.lines import FeedbackLine, PredictionLine
from tasks.errors import PlatformError
from tasks.monitoring.archive import columns_of, found, line_of, spans_in, written
from tasks.monitoring.pieces import Archive, Span
from tasks.monitoring.segments import Files

SPAN = Span("late/predictions/20261101T000000.000000Z-7.jsonl", 0, 1_000)
BEGUN = datetime(2026, 11, 1, tzinfo=UTC)
TEXTS = ["", "AA", "é", "日本", "🛫", 'a "b"\\', "it's", "\x00", "\x1f\n\r\t", "\u2028", "\ud7ff\ue000", "x" * 1_000, "true", "null", "1.5"]
FLOATS = [0.0, -0.0, 5e-324, -2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1 / 3, 1e22, 1e23, 2**53 + 2.0, 1e-7, 123456789.123456789, 1e30, -1e30]


def prediction(**changed: Any) -> dict[str, Any]:
    """A line as the endpoint writes it."""
    line = {"v": 1, "model": "late", "version": "20130321-aaaaaaaa", "release": "late-r1", "role": "champion"}
    line |= {"event_time": "2013-04-01T08:30:00+00:00", "wall_time": "2026-11-01T08:30:00.123456+00:00", "row": {"distance": 9.5, "carrier": None}}
    return line | {"latency_us": 80, "entity": "", "id": Uuid7()(), "prediction": True, "score": 0.75, "flags": []} | changed


def packed(folder: Path, lines: list[bytes], kind: str = "predictions") -> Path:
    name, data = written(kind, lines, [SPAN], [BEGUN])
    path = folder / "late" / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def back(path: Path, kind: str = "predictions") -> list[PredictionLine | FeedbackLine]:
    return [line_of(kind, columns) for columns in pq.read_table(path).to_pylist()]


def draw(rng: random.Random) -> dict[str, Any]:
    """A line with whatever JSON can hold in each place."""

    def number() -> float:
        some = struct.unpack("<d", rng.randbytes(8))[0]
        return some if math.isfinite(some) and rng.random() < 0.7 else rng.choice(FLOATS)

    def value() -> Any:
        return rng.choice([None, True, False, number(), number(), rng.choice(TEXTS), rng.randrange(-(2**63), 2**64), [number()], {"a": None}])

    moment = datetime.fromtimestamp(rng.uniform(-6e10, 2.5e11), UTC)
    times = [moment.isoformat(), moment.replace(microsecond=0).isoformat(), moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "2013-04-30T22:00:00-05:00", "soon", ""]
    return prediction(
        id=rng.choice([Uuid7()(), "r-1", *TEXTS]),
        role=rng.choice(["champion", "challenger", "shadow"]),
        event_time=rng.choice(times),
        wall_time=rng.choice(times[:2]),
        row={rng.choice(TEXTS): value() for _ in range(rng.randrange(6))},
        score=rng.choice([number(), [number(), number()], [], 1]),
        prediction=rng.choice([True, False, number(), rng.choice(TEXTS), 1, 0]),
        flags=rng.choice([[], ["unseen:carrier"], TEXTS]),
        latency_us=rng.choice([0, 80, 2**63 - 1, 2**63, -5]),
        entity=rng.choice(["", "ab12"]),
    )


def test_every_line_comes_back_equal(tmp_path: Path) -> None:
    rng = random.Random(5)
    lines = [orjson.dumps(draw(rng)) for _ in range(800)]

    expected = sorted(PredictionLine.model_validate_json(line).model_dump_json() for line in lines)
    assert sorted(line.model_dump_json() for line in back(packed(tmp_path, lines))) == expected


def test_what_the_endpoint_writes_is_all_in_columns(tmp_path: Path) -> None:
    lines = [prediction(), prediction(score=[0.1, 0.7, 0.2], prediction="b", event_time="2013-04-01T08:30:00.500000+00:00", flags=["range:x"])]
    table = pq.read_table(packed(tmp_path, list(map(orjson.dumps, lines))))

    assert table["line"].null_count == 2
    first, second = table.to_pylist()
    assert first["event_time"] == datetime(2013, 4, 1, 8, 30, tzinfo=UTC)
    assert (first["score"], first["scores"], first["prediction"], first["row"]) == (0.75, None, "true", '{"distance":9.5,"carrier":null}')
    assert (second["score"], second["scores"], second["prediction"], second["flags"]) == (None, [0.1, 0.7, 0.2], '"b"', ["range:x"])
    assert str(table.schema.field("event_time").type) == "timestamp[us, tz=UTC]"


def test_labels_come_back_equal(tmp_path: Path) -> None:
    labels: list[Any] = [True, False, "b", "", 7, 7.0, -0.0, 1e300, "é\n"]
    lines = [
        orjson.dumps({"v": 1, "id": f"r-{n}", "label": label, "time": "2013-05-01T00:00:00+00:00", "wall_time": "2026-11-01T00:00:00+00:00"})
        for n, label in enumerate(labels)
    ]

    path = packed(tmp_path, lines, "feedback")

    assert [line.model_dump_json() for line in back(path, "feedback")] == [FeedbackLine.model_validate_json(line).model_dump_json() for line in lines]
    assert [columns["line"] is None for columns in pq.read_table(path).to_pylist()] == [True, True, True, True, False, True, True, True, True]


@pytest.mark.parametrize("raw", [b"garbage", b"[1, 2]", b"\xff\xfe\x00", b'{"v": 1, "id": "half', b'{"v":2}', b'{"v":1,"id":"n","score":NaN}'])
def test_a_line_that_is_none_of_ours_is_kept_as_it_is(raw: bytes) -> None:
    assert columns_of("predictions", raw) == {"line": raw}


def test_a_row_is_found_by_its_id_however_its_line_is_kept(tmp_path: Path) -> None:
    lines = [prediction(score=n / 7) for n in range(100)] + [prediction(event_time="2013-04-30T22:00:00-05:00")]
    paths = [packed(tmp_path / "a", list(map(orjson.dumps, lines[:50]))), packed(tmp_path / "b", list(map(orjson.dumps, lines[50:])))]

    for line in (lines[0], lines[77], lines[100]):
        assert found(paths, line["id"]) == PredictionLine.model_validate(line)
    assert found(paths, Uuid7()()) is None
    assert found([], lines[0]["id"]) is None


def test_an_archive_is_the_same_whoever_makes_it_and_says_what_it_holds(tmp_path: Path) -> None:
    lines = [orjson.dumps(prediction(wall_time=f"2026-11-0{day}T08:30:00+00:00")) for day in (3, 2, 5)]
    path = packed(tmp_path, lines)

    assert written("predictions", lines, [SPAN], [BEGUN]) == (path.name, path.read_bytes())
    assert Archive.of(path.name, 1) == Archive(path.name, 1, BEGUN, datetime(2026, 11, 5, 8, 30, tzinfo=UTC))
    assert spans_in(path, f"late/predictions/{path.name}") == [SPAN]
    ids = pq.read_table(path)["id"].to_pylist()
    assert ids == sorted(ids)


def test_a_damaged_archive_is_told_by_name(tmp_path: Path) -> None:
    path = packed(tmp_path, [orjson.dumps(prediction())])
    whole = path.read_bytes()

    for damaged in (whole[:-40], b"", b"no Parquet"):
        path.write_bytes(damaged)
        with pytest.raises(PlatformError, match=path.name):
            Files.of(path.parent)
    pq.write_table(pq.read_table(packed(tmp_path, [])).replace_schema_metadata({}), path)
    with pytest.raises(PlatformError, match="KeyError"):
        Files.of(path.parent)


def test_an_archive_of_garbage_is_as_old_as_its_segments(tmp_path: Path) -> None:
    path = packed(tmp_path, [b"garbage", orjson.dumps(prediction(wall_time="9999-01-01T00:00:00+00:00"))])

    assert Archive.of(path.name, 1) == Archive(path.name, 1, BEGUN, BEGUN)
