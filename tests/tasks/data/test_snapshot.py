"""Snapshots and the training frames they give."""

import io
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bentos.runtime.contract import Feature
from tasks.data.features import feature_rows
from tasks.data.snapshot import Snapshot, label_of, load, rows, take, training_frame
from tasks.errors import LeakError, SpecError, TrainingError
from tasks.ledger.chain import Entry
from tasks.ledger.rows import AnyRow, BatchRow, WaiverRow
from tasks.spec import DatasetSpec, Gate, Label, ModelSpec
from tasks.store import Store

Dataset = Callable[..., DatasetSpec]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def history(*found: AnyRow) -> list[Entry]:
    return [Entry(place, f"{place}", row) for place, row in enumerate(found, 1)]


def rides(first_day: int = 1, count: int = 4, km: float = 1.0) -> pd.DataFrame:
    at = pd.date_range(f"2024-01-{first_day:02d}", periods=count, freq="D")
    return pd.DataFrame({"rider": [f"r{i % 2}" for i in range(count)], "km": km, "minutes": np.arange(count) + 10.0, "event_time": at})


def batch(name: str, frame: pd.DataFrame, store: Store, verdict: Any = "accepted") -> BatchRow:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    end = frame["event_time"].max().to_pydatetime().replace(tzinfo=UTC)
    return BatchRow(dataset="rides", batch=name, verdict=verdict, rows=len(frame), end=end, ref=str(store.put(buffer.getvalue(), ".parquet")))


def taken(spec: DatasetSpec, store: Store, *frames: pd.DataFrame) -> pd.DataFrame:
    snapshot = take(history(*[batch(f"b{place}", frame, store) for place, frame in enumerate(frames)]), spec, store)
    return rows(snapshot, spec, store)


def model(folder: Path, **facts: Any) -> ModelSpec:
    given: dict[str, Any] = {
        "name": "slow",
        "folder": folder,
        "dataset": "rides",
        "task": "binary",
        "label": Label(column="minutes", above=11),
        "features": {"km": Feature(type="number")},
        "gate": Gate(metric="roc_auc"),
    }
    return ModelSpec(**given | facts)


def test_the_same_ledger_gives_the_same_snapshot_and_a_new_batch_another(dataset: Dataset, store: Store) -> None:
    first, second = batch("2024-01", rides(1), store), batch("2024-02", rides(9), store)

    once, again, more = (take(history(*found), dataset(), store) for found in ([first], [first], [first, second]))

    assert once == again
    assert once.ref != more.ref
    assert load(more.ref, store) == more == Snapshot.model_validate_json(more.model_dump_json())


def test_a_quarantined_batch_is_left_out_until_it_is_waived(dataset: Dataset, store: Store) -> None:
    aside = batch("2024-01", rides(1), store, verdict="quarantined")
    waiver = WaiverRow(dataset="rides", batch="2024-01", ref=aside.ref, reason="a blizzard")

    with pytest.raises(TrainingError, match="no accepted batch"):
        take(history(aside), dataset(), store)

    assert [b.batch for b in take(history(aside, waiver), dataset(), store).batches] == ["2024-01"]


def test_of_rows_with_one_entity_and_time_the_last_ingested_wins(dataset: Dataset, store: Store) -> None:
    spec = dataset(entity=["rider"])
    late, early = batch("2024-02", rides(3, km=2.0), store), batch("2024-01", rides(1, km=7.0), store)

    frame = rows(take(history(late, early), spec, store), spec, store)

    assert frame["event_time"].dt.day.tolist() == [1, 2, 3, 4, 5, 6]
    assert frame["km"].tolist() == [7.0, 7.0, 7.0, 7.0, 2.0, 2.0], "January was ingested after February, so it wins"


def test_without_entity_rows_that_are_ingested_again_count_once_and_equal_rows_of_one_batch_stay(dataset: Dataset, store: Store) -> None:
    twice = pd.concat([rides(1, count=2), rides(1, count=1)])

    frame = taken(dataset(), store, twice, pd.concat([twice, rides(3, count=1)]))

    assert frame["event_time"].dt.day.tolist() == [1, 1, 2, 3]


def test_rows_come_in_order_of_time_then_entity_whatever_came_first(dataset: Dataset, store: Store) -> None:
    spec = dataset(entity=["rider"])
    shuffled = rides(1).assign(event_time=pd.Timestamp("2024-01-01"), rider=list("bdac"))

    assert taken(spec, store, shuffled)["rider"].tolist() == list("abcd")
    assert taken(spec, store, rides(9), rides(1))["event_time"].is_monotonic_increasing


def test_a_whole_null_column_in_one_batch_fits_another_and_text_does_not_fit_numbers(dataset: Dataset, store: Store) -> None:
    assert taken(dataset(), store, rides(1).assign(km=None), rides(9))["km"].isna().sum() == 4

    with pytest.raises(TrainingError, match="do not fit together"):
        taken(dataset(), store, rides(1), rides(9).assign(km="far"))


@pytest.mark.parametrize(
    ("task", "label", "column", "expected"),
    [
        ("binary", {"above": 11}, [10.0, 12.0, None], [0.0, 1.0, None]),
        ("binary", {"positive": "1"}, [0.0, 1.0, None], [0.0, 1.0, None]),
        ("binary", {"positive": "True"}, [False, True, None], [0.0, 1.0, None]),
        ("binary", {"positive": "yes"}, ["no", "yes", None], [0.0, 1.0, None]),
        ("regression", {}, [1, np.inf, None], [1.0, None, None]),
        ("multiclass", {}, [1.0, 2.0, None], ["1", "2", None]),
    ],
)
def test_labels_are_read_as_the_spec_says(tmp_path: Path, task: Any, label: dict[str, Any], column: list[Any], expected: list[Any]) -> None:
    metric = {"binary": "roc_auc", "regression": "mae", "multiclass": "accuracy"}[task]
    spec = model(tmp_path, task=task, label=Label(column="y", **label), classes=("1", "2", "3") if task == "multiclass" else (), gate=Gate(metric=metric))

    found = label_of(pd.DataFrame({"y": column}), spec)

    assert [None if pd.isna(value) else value for value in found] == expected


def test_text_where_a_number_is_needed_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'minutes' holds text"):
        label_of(pd.DataFrame({"minutes": ["1", "many"]}), model(tmp_path))
    with pytest.raises(SpecError, match="'minutes' is no column"):
        label_of(pd.DataFrame({"km": [1.0]}), model(tmp_path))


def test_rows_without_a_label_are_left_out_of_training(dataset: Dataset, tmp_path: Path) -> None:
    raw = rides(count=4).assign(minutes=[10.0, None, 12.0, 13.0])

    frame = training_frame(raw, dataset(entity=["rider"]), model(tmp_path), lambda raw: raw[["km"]])

    assert frame.columns.tolist() == ["km", "event_time", "label", "entity"]
    assert frame["label"].tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("read", ["minutes", "refund"])
def test_features_that_read_the_label_or_an_outcome_column_are_a_leak(dataset: Dataset, tmp_path: Path, read: str) -> None:
    raw = rides().assign(refund=1.0)

    with pytest.raises(LeakError, match=read):
        training_frame(raw, dataset(outcome=["refund"]), model(tmp_path), lambda raw: raw[["km"]].assign(km=raw[read]))


@pytest.mark.parametrize("ahead", [lambda km: km.shift(-1), lambda km: km - km.mean()], ids=["next row", "mean of the batch"])
def test_features_that_look_ahead_are_refused_by_name(dataset: Dataset, tmp_path: Path, ahead: Callable[[Any], Any]) -> None:
    raw = rides(count=8).assign(km=np.arange(8.0))

    with pytest.raises(SpecError, match="'km' gives other values"):
        training_frame(raw, dataset(), model(tmp_path), lambda raw: raw[["km"]].assign(km=ahead(raw["km"])))

    training_frame(raw, dataset(), model(tmp_path), lambda raw: raw[["km"]].assign(km=raw["km"].shift(1)))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda raw: raw[["missing"]], "features\\(\\) failed: KeyError"),
        (lambda raw: raw[["rider"]], "returns no column 'km'"),
        (lambda raw: raw[["rider"]].rename(columns={"rider": "km"}), "'km' values that are no number"),
        (lambda raw: raw.iloc[1:][["km"]], "with the rows and the index"),
    ],
)
def test_what_is_wrong_with_features_is_told(dataset: Dataset, tmp_path: Path, features: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        training_frame(rides(), dataset(), model(tmp_path), features)


def test_infinite_numbers_become_null_because_a_request_cannot_say_them(dataset: Dataset, tmp_path: Path) -> None:
    frame = training_frame(rides().assign(km=[1.0, np.inf, -np.inf, 2.0]), dataset(), model(tmp_path), lambda raw: raw[["km"]])

    assert frame["km"].isna().tolist() == [False, True, True, False]


def test_features_cannot_change_the_raw_rows(dataset: Dataset, tmp_path: Path) -> None:
    raw = rides()

    def rude(given: pd.DataFrame) -> pd.DataFrame:
        given["km"] = -1.0
        return given

    feature_rows(raw, dataset(), model(tmp_path), rude)

    assert (raw["km"] == 1.0).all()


def test_a_class_that_the_spec_does_not_list_stops_training(dataset: Dataset, tmp_path: Path) -> None:
    spec = model(tmp_path, task="multiclass", label=Label(column="rider"), classes=("r0", "r2", "r3"), gate=Gate(metric="accuracy"))

    with pytest.raises(SpecError, match="does not list r1"):
        training_frame(rides(), dataset(), spec, lambda raw: raw[["km"]])


def test_a_column_that_the_dataset_names_and_does_not_have_is_told(dataset: Dataset, store: Store, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="entity names 'driver'"):
        taken(dataset(entity=["driver"]), store, rides())
    with pytest.raises(SpecError, match="outcome names 'refund'"):
        training_frame(rides(), dataset(outcome=["refund"]), model(tmp_path), lambda raw: raw[["km"]])


def test_times_are_nanoseconds_whatever_unit_the_batch_was_kept_in(dataset: Dataset, store: Store) -> None:
    frame = taken(dataset(), store, rides().assign(event_time=rides()["event_time"].astype("datetime64[ms]")))

    assert frame["event_time"].dtype == "datetime64[ns]"
    assert frame["event_time"].iloc[0] == pd.Timestamp("2024-01-01")
