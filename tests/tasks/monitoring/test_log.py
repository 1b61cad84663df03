"""The log is read whatever is in it: what cannot be read is counted, what arrives late or twice is settled when joined."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served import append, day, draw, send, write_labels, write_predictions

from bentos.runtime.contract import Feature
from tasks.monitoring import log
from tasks.monitoring.archive import written
from tasks.monitoring.keeping import whole_lines
from tasks.monitoring.log import Logs
from tasks.monitoring.pieces import Piece
from tasks.monitoring.segments import Files
from tasks.spec import Label, Log, ModelSpec

DELAY = timedelta(days=1)
Read = Callable[..., Logs]


@pytest.fixture(params=["segments", "archives", "archives beside their segments", "one half archived"])
def read(request: pytest.FixtureRequest) -> Read:
    """The reader, on the log that a test has written and on what becomes of it: each says the same."""

    def read_as_it_became(folder: Path, *given: object, **more: object) -> Logs:
        for path in [] if request.param == "segments" else sorted(folder.glob("*/*.jsonl")):
            if request.param == "one half archived":
                halve(path)
            pack(path)
            if request.param != "archives beside their segments":
                path.unlink()
        return log.read(folder, *given, **more)  # type: ignore[arg-type]

    return read_as_it_became


def pack(path: Path, begun: datetime = datetime(2026, 11, 1, tzinfo=UTC)) -> Path:
    """Put the archive of a segment beside it."""
    kind, data = path.parent.name, path.read_bytes()
    name, packed = written(kind, whole_lines(data), [Piece.of(f"{kind}/{path.name}", len(data)).span], [begun])
    (path.parent / name).write_bytes(packed)
    return path.parent / name


def halve(path: Path) -> None:
    """Move the second half of a segment to another one."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    path.with_name(f"{path.stem}-rest.jsonl").write_bytes(b"".join(lines[len(lines) // 2 :]))


def test_rows_and_labels_are_joined_in_event_order(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 30, 100)
    shuffled = frame.sample(frac=1, random_state=1)
    send(tmp_path, shuffled)

    logs = read(tmp_path, spec, DELAY, [])

    assert logs.answers["event_time"].tolist() == frame["event_time"].tolist()
    assert logs.answers["score"].tolist() == pytest.approx(frame["prediction"].tolist())
    assert logs.answers["label"].tolist() == frame["label"].astype(float).tolist()
    pd.testing.assert_series_equal(logs.features["temp"], frame["temp"])
    assert logs.features["carrier"].tolist() == frame["carrier"].tolist()
    assert logs.features["weekend"].tolist() == frame["weekend"].astype(float).tolist()
    assert (logs.unreadable, logs.unknown) == (0, 0)


def test_no_log_is_an_empty_log(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    assert len(read(tmp_path, spec, DELAY, []).answers) == 0


def test_answers_without_any_feedback_have_no_labels(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 10))

    assert read(tmp_path, spec, DELAY, []).answers["label"].isna().all()


def test_torn_and_foreign_lines_are_counted_and_the_rest_is_read(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 30, 10)
    write_predictions(tmp_path, frame)
    write_predictions(tmp_path, frame, prefix="other-model", model="early")
    write_predictions(tmp_path, frame, prefix="future-format", v=2)
    write_predictions(tmp_path, frame, prefix="no-score", score=None)
    write_predictions(tmp_path, frame, prefix="bad-time", event_time="soon")
    write_predictions(tmp_path, frame, prefix="year-9999", event_time="9999-01-01T00:00:00+00:00")
    with (tmp_path / "predictions" / "1.jsonl").open("ab") as file:
        file.write(b'garbage\n[1, 2]\n"text"\n\xff\xfe\x00\n{"v": 1, "id": "half\n')

    logs = read(tmp_path, spec, DELAY, [])

    assert len(logs.answers) == 10
    assert logs.unreadable == 5 * 10 + 5


def test_a_torn_last_line_is_counted_until_it_is_archived(tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 10))
    path = tmp_path / "predictions" / "1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"v":1,"id":"torn","model":"late","ver')

    assert log.read(tmp_path, spec, DELAY, []).unreadable == 1
    pack(path)
    assert log.read(tmp_path, spec, DELAY, []).unreadable == 0


def test_shadow_answers_are_not_answers(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 30, 10)
    write_predictions(tmp_path, frame)
    write_predictions(tmp_path, frame, prefix="s", role="shadow")

    logs = read(tmp_path, spec, DELAY, [])

    assert len(logs.answers) == 10
    assert logs.unreadable == 0


def test_the_newest_label_by_its_own_time_wins_whatever_came_last(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    ids = write_predictions(tmp_path, draw(day("2013-04-01"), 30, 2))
    write_labels(tmp_path, ids, [True, True], ["2013-05-02T00:00:00Z", "2013-05-01T00:00:00Z"])
    write_labels(tmp_path, ids, [False, False], ["2013-05-01T00:00:00Z", "2013-05-02T00:00:00Z"])
    write_labels(tmp_path, ids, [False, False], ["2013-05-01T00:00:00Z", "2013-05-02T00:00:00Z"])

    logs = read(tmp_path, spec, DELAY, [])

    assert logs.answers["label"].tolist() == [1.0, 0.0]


def test_a_line_that_was_shipped_twice_counts_once(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 30, 10)
    write_predictions(tmp_path, frame)
    write_predictions(tmp_path, frame)

    assert len(read(tmp_path, spec, DELAY, []).answers) == 10


def test_labels_of_unknown_rows_are_counted_and_left_out(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 2))
    write_labels(tmp_path, ["lost-1", "r-0"], [True, True], ["2013-05-01T00:00:00Z"] * 2)

    logs = read(tmp_path, spec, DELAY, [])

    assert logs.unknown == 1
    assert logs.answers["label"].notna().tolist() == [True, False]


def test_times_of_other_zones_are_moved_to_utc(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 1), event_time="2013-04-30T22:00:00-05:00")

    logs = read(tmp_path, spec, DELAY, [])

    assert logs.answers["event_time"].iloc[0] == pd.Timestamp("2013-05-01T03:00:00")
    assert logs.answers["window"].iloc[0] == "2013-05"


def test_settled_windows_only_move_the_clock(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    send(tmp_path, draw(day("2013-04-01"), 30, 10), "april")
    send(tmp_path, draw(day("2013-05-01"), 31, 10), "may")

    logs = read(tmp_path, spec, DELAY, ["2013-05"])

    assert set(logs.answers["window"]) == {"2013-04"}
    assert logs.newest[-1] > np.datetime64("2013-05-28")
    assert logs.unknown == 0


def test_labels_sent_without_their_time_do_not_move_the_clock_to_today(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    ids = write_predictions(tmp_path, draw(day("2013-04-01"), 30, 100))
    write_labels(tmp_path, ids, [True] * 100, ["2026-11-24T12:00:00Z"] * 100)

    assert read(tmp_path, spec, DELAY, []).newest[-1] < np.datetime64("2013-05-02")


def test_a_value_of_the_wrong_type_is_null_and_the_row_stays(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 1), row={"distance": "far", "temp": None, "weekend": True, "carrier": "AA", "new": 1})

    features = read(tmp_path, spec, DELAY, []).features

    assert features.iloc[0].isna().tolist() == [True, True, False, False]
    assert list(features.columns) == list(spec.features)


def test_classes_are_labels_only_when_the_model_knows_them(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    many = spec.model_copy(update={"task": "multiclass", "classes": ("a", "b", "c"), "label": Label(column="x")})
    ids = write_predictions(tmp_path, draw(day("2013-04-01"), 30, 2), score=[0.2, 0.7, 0.1], prediction="b")
    write_labels(tmp_path, ids, ["c", "z"], ["2013-05-01T00:00:00Z"] * 2)

    answers = read(tmp_path, many, DELAY, []).answers

    assert answers["prediction"].tolist() == ["b", "b"]
    assert list(answers["score"].iloc[0]) == [0.2, 0.7, 0.1]
    assert answers["label"].iloc[0] == "c"
    assert answers["label"].isna().tolist() == [False, True]


def test_numbers_are_labels_of_a_regression(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    number = spec.model_copy(update={"task": "regression", "label": Label(column="x")})
    ids = write_predictions(tmp_path, draw(day("2013-04-01"), 30, 3), score=113.5, prediction=113.5)
    write_labels(tmp_path, ids, [110.25, 7, "much"], ["2013-05-01T00:00:00Z"] * 3)

    answers = read(tmp_path, number, DELAY, []).answers

    assert answers["label"].tolist()[:2] == [110.25, 7.0]
    assert np.isnan(answers["label"].iloc[2])


def test_features_may_have_any_name(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    odd = {"it's": Feature(type="number"), 'a "b"': Feature(type="category"), "select": Feature(type="number"), "id": Feature(type="number")}
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 1), row={"it's": 1.5, 'a "b"': "x", "select": 2, "id": 3})

    logs: Logs = read(tmp_path, spec.model_copy(update={"features": odd}), DELAY, [])

    assert logs.features.iloc[0].tolist() == [1.5, "x", 2.0, 3.0]
    assert logs.answers["id"].tolist() == ["r-0"]


def test_every_segment_is_read(read: Read, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30, 3))
    (tmp_path / "predictions" / "1.jsonl").rename(tmp_path / "predictions" / "0.jsonl")
    write_predictions(tmp_path, draw(day("2013-05-01"), 30, 3), prefix="x")
    append(tmp_path / "predictions" / "2.jsonl", [])

    assert len(read(tmp_path, spec, DELAY, []).answers) == 6


@pytest.mark.parametrize("unknown_by", ["segments", "archives"])
def test_labels_of_rows_that_were_deleted_because_of_their_age_are_not_unknown(tmp_path: Path, spec: ModelSpec, unknown_by: str) -> None:
    """An id says when it was made; the row of one that is older than the log may have been there."""
    now, kept = datetime(2026, 11, 24, tzinfo=UTC), spec.model_copy(update={"log": Log(keep_days=10)})
    made = {days: uuid7(now - timedelta(days=days)) for days in (3, 4, 9, 11, 12, 30)}
    frame = draw(day("2013-04-01"), 30, 1)
    write_predictions(tmp_path, frame, id=made[4])
    (tmp_path / "predictions" / "1.jsonl").rename(tmp_path / "predictions" / "0.jsonl")
    write_labels(tmp_path, ["lost", *made.values()], [True] * 7, ["2013-05-01T00:00:00Z"] * 7)
    if unknown_by == "archives":
        for path in tmp_path.glob("*/*.jsonl"):
            pack(path)
            path.unlink()

    def unknown() -> int:
        return log.read(tmp_path, kept, DELAY, [], now).unknown

    assert unknown() == 2, "lost, which says nothing, and the one of 3 days"
    write_predictions(tmp_path, frame, id=made[12])
    (tmp_path / "predictions" / "1.jsonl").rename(tmp_path / "predictions" / "2.jsonl")
    assert unknown() == 3, "with the one of 9 days"
    assert log.read(tmp_path, spec, DELAY, [], now).unknown == 4, "with the one of 11 days"


def uuid7(moment: datetime) -> str:
    start = f"{int(moment.timestamp() * 1000):012x}"
    return f"{start[:8]}-{start[8:]}-7000-8000-000000000000"


def test_of_settled_windows_only_the_keys_of_archives_are_read(tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is no JSON any more, which no other reader would survive, is not noticed there."""
    for month in ("2013-04", "2013-05"):
        send(tmp_path, draw(day(f"{month}-01"), 30, 50), month)
    path = pack(tmp_path / "predictions" / "1.jsonl")
    (tmp_path / "predictions" / "1.jsonl").unlink()
    table = pq.read_table(path)
    rows = ["no JSON" if time.month == 4 else row for row, time in zip(table["row"].to_pylist(), table["event_time"].to_pylist(), strict=True)]
    pq.write_table(table.set_column(table.schema.get_field_index("row"), "row", pa.array(rows)), path)

    logs = log.read(tmp_path, spec, DELAY, ["2013-04"])

    assert set(logs.answers["window"]) == {"2013-05"}
    assert len(logs.features) == 50
    assert (logs.unreadable, logs.unknown) == (0, 0)
    with pytest.raises(duckdb.InvalidInputException):
        log.read(tmp_path, spec, DELAY, [])


def test_a_segment_that_is_archived_under_a_readers_hands_is_read_from_the_archive(tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    send(tmp_path, draw(day("2013-04-01"), 30, 50))
    of = Files.of

    def listed(folder: Path) -> Files:
        found = of(folder)
        for path in map(Path, found.segments):
            pack(path)
            path.unlink()
        return found

    monkeypatch.setattr(Files, "of", listed)

    assert log.read(tmp_path, spec, DELAY, []).answers["label"].notna().sum() == 50


def test_a_file_that_is_gone_for_good_is_an_error(tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Files, "of", lambda folder: Files((str(folder / "gone.jsonl"),), ()))

    with pytest.raises(duckdb.IOException):
        log.read(tmp_path, spec, DELAY, [])
