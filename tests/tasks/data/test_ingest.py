"""A batch is taken once, set aside with its reason, waived by a person, and nothing taken before is lost."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tasks.data.ingest import due, ingest_batch, waive
from tasks.errors import AppendRefusedError, SourceError, SpecError, UnknownNameError
from tasks.ledger.chain import Ledger
from tasks.ledger.questions import accepted, quarantined
from tasks.ledger.rows import BatchRow
from tasks.spec import DatasetSpec
from tasks.store import Ref, Store

SUITE = {
    "name": "rides_raw",
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 2}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "km", "mostly": 0.6}},
    ],
}
GOOD = "at,km\n2013-01-05T08:00,1\n2013-01-01T08:00,2\n2013-01-03T08:00,\n"
NULLS = "at,km\n2013-01-01,1\n2013-01-02,\n2013-01-03,\n"


class Place:
    """A dataset with its store and ledger."""

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        self.spec, self.store, self.ledger = spec, Store(f"file://{root}/store"), Ledger(f"sqlite:///{root}/ledger.db", root)
        (spec.folder / "raw.json").write_text(json.dumps(SUITE))

    def deliver(self, text: str | bytes) -> None:
        (self.spec.folder / "rides.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    def ingest(self, batch: str = "2013-01", uri: str = "") -> BatchRow:
        return ingest_batch(self.spec, batch, uri, self.store, self.ledger, run="run-1")

    def batches(self) -> list[BatchRow]:
        return [entry.row for entry in self.ledger.read() if isinstance(entry.row, BatchRow)]

    def rows(self, row: BatchRow) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(self.store.get(Ref.parse(row.ref))))


@pytest.fixture
def place(dataset: Callable[..., DatasetSpec], tmp_path: Path) -> Place:
    return Place(dataset(source="rides.csv"), tmp_path)


def test_a_good_batch_is_accepted_and_its_raw_rows_are_kept(place: Place) -> None:
    place.deliver(GOOD)

    row = place.ingest()

    assert (row.verdict, row.rows, row.reason, row.findings, row.run) == ("accepted", 3, "", (), "run-1")
    assert (row.start, row.end) == (datetime(2013, 1, 1, 8, tzinfo=UTC), datetime(2013, 1, 5, 8, tzinfo=UTC))
    assert row.event_time == row.end
    assert row.recorded_at is not None
    assert list(place.rows(row)["km"].fillna(0)) == [2, 0, 1]
    assert accepted(place.ledger.read(), "rides") == [row]


def test_a_bad_batch_is_quarantined_with_its_reason_and_its_bytes(place: Place) -> None:
    place.deliver(NULLS)

    row = place.ingest()

    assert row.verdict == "quarantined"
    assert row.reason == "1 of 2 expectations block: km values to not be null: 66.7 % null (2 of 3), expected for at least 60 %"
    assert len(place.rows(row)) == 3
    assert accepted(place.ledger.read(), "rides") == []
    assert quarantined(place.ledger.read(), "rides") == [row]


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "is empty"), (b"\xff\xfe", "not UTF-8"), ("when,km\n2013-01-01,1\n", "no time column"), ("at,km\n2012-01-01,1\n", "none of its 1 rows")],
)
def test_an_unreadable_batch_is_quarantined_with_its_reason_and_no_bytes(place: Place, text: str | bytes, found: str) -> None:
    place.deliver(text)

    row = place.ingest()

    assert (row.verdict, row.ref, row.rows) == ("quarantined", "", 0)
    assert found in row.reason


def test_taking_the_same_bytes_again_records_nothing_and_returns_the_earlier_row(place: Place) -> None:
    place.deliver(GOOD)
    first = place.ingest()

    assert place.ingest() == first
    assert len(place.batches()) == 1


def test_an_unreadable_batch_that_stays_so_is_recorded_once(place: Place) -> None:
    assert place.ingest() == place.ingest()
    assert len(place.batches()) == 1


def test_the_same_bytes_under_another_suite_are_judged_again(place: Place) -> None:
    place.deliver(NULLS)
    before = place.ingest()
    (place.spec.folder / "raw.json").write_text(json.dumps({**SUITE, "expectations": SUITE["expectations"][:1]}))

    after = place.ingest()

    assert (before.verdict, after.verdict) == ("quarantined", "accepted")
    assert before.ref == after.ref
    assert quarantined(place.ledger.read(), "rides") == []


def test_other_bytes_replace_a_batch_and_the_first_ones_may_come_back(place: Place) -> None:
    place.deliver(GOOD)
    first = place.ingest()
    place.deliver(GOOD + "2013-01-09,4\n")
    second = place.ingest()
    place.deliver(GOOD)
    third = place.ingest()

    assert [row.rows for row in (first, second, third)] == [3, 4, 3]
    assert accepted(place.ledger.read(), "rides") == [third]


def test_a_batch_that_cannot_be_read_again_does_not_drop_the_one_that_was(place: Place) -> None:
    place.deliver(GOOD)
    first = place.ingest()
    place.deliver("")
    place.ingest()

    assert accepted(place.ledger.read(), "rides") == [first]
    assert [row.ref for row in quarantined(place.ledger.read(), "rides")] == [""]


def test_a_handed_file_is_taken_instead_of_the_source(place: Place, tmp_path: Path) -> None:
    (tmp_path / "february.csv").write_text("at,km\n2013-02-01,1\n2013-02-02,1\n")

    assert place.ingest("2013-02", (tmp_path / "february.csv").as_uri()).verdict == "accepted"


def test_a_batch_of_everything_is_named_by_its_content(dataset: Callable[..., DatasetSpec], tmp_path: Path) -> None:
    place = Place(dataset(source="rides.csv", period="all", time=""), tmp_path)
    place.deliver(GOOD)

    row = place.ingest("all")

    assert row.batch == f"all-{Ref.parse(row.ref).digest[:8]}"
    assert place.ingest(row.batch) == row
    assert due(place.ledger.read(), place.spec, None) == []


def test_a_wrong_name_or_folder_is_an_error_and_no_record(place: Place) -> None:
    with pytest.raises(SourceError, match="not a month"):
        place.ingest("2013-1")
    (place.spec.folder / "raw.json").write_text("{}")
    place.deliver(GOOD)
    with pytest.raises(SpecError, match="no expectations"):
        place.ingest()
    (place.spec.folder / "raw.json").unlink()
    with pytest.raises(SpecError, match="does not exist"):
        place.ingest()

    assert place.batches() == []


def test_a_waiver_lets_exactly_the_quarantined_bytes_in(place: Place) -> None:
    place.deliver(NULLS)
    row = place.ingest()

    waiver = waive("rides", "2013-01", "Ada", "the counter was broken", place.ledger)

    assert (waiver.actor, waiver.ref, waiver.reason) == ("Ada", row.ref, "the counter was broken")
    assert accepted(place.ledger.read(), "rides") == [row]
    place.deliver(NULLS + "2013-01-04,\n")
    assert place.ingest().verdict == "quarantined"
    assert accepted(place.ledger.read(), "rides") == []


def test_a_waiver_asked_for_twice_is_recorded_once_and_another_persons_is_refused(place: Place) -> None:
    place.deliver(NULLS)
    place.ingest()

    assert waive("rides", "2013-01", "Ada", "why not", place.ledger) == waive("rides", "2013-01", "Ada", "why not", place.ledger)
    with pytest.raises(AppendRefusedError, match="Ada waived it already: why not"):
        waive("rides", "2013-01", "Bob", "because", place.ledger)


def test_only_a_quarantined_batch_with_bytes_can_be_waived_by_somebody_for_a_reason(place: Place) -> None:
    with pytest.raises(UnknownNameError, match="'2013-01'"):
        waive("rides", "2013-01", "Ada", "why not", place.ledger)
    place.ingest()
    with pytest.raises(AppendRefusedError, match="no bytes to let in.*there is no file"):
        waive("rides", "2013-01", "Ada", "why not", place.ledger)
    place.deliver(GOOD)
    place.ingest()
    with pytest.raises(AppendRefusedError, match="was accepted and needs none"):
        waive("rides", "2013-01", "Ada", "why not", place.ledger)
    with pytest.raises(AppendRefusedError, match="the name of a person and a reason"):
        waive("rides", "2013-01", " ", "why not", place.ledger)


def test_the_first_batches_are_due_then_those_whose_labels_are_complete(dataset: Callable[..., DatasetSpec], tmp_path: Path) -> None:
    place = Place(dataset(source="rides.csv", first=("2013-01", "2013-02"), label_delay_days=1), tmp_path)
    place.deliver(GOOD)
    assert due([], place.spec, None) == ["2013-01", "2013-02"]

    place.ingest("2013-01")
    assert due(place.ledger.read(), place.spec, None) == ["2013-02"]

    place.ingest("2013-02")
    history = place.ledger.read()
    assert due(history, place.spec, None) == []
    assert due(history, place.spec, datetime(2013, 4, 1, 23, 59, tzinfo=UTC)) == []
    assert due(history, place.spec, datetime(2013, 4, 2, tzinfo=UTC)) == ["2013-03"]
    assert due(history, place.spec, datetime(2013, 5, 2, tzinfo=UTC)) == ["2013-03", "2013-04"]
