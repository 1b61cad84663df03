"""A proposed suite loads, holds for the data it came from, and notices another unit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bentos.runtime.contract import Feature
from tasks.data.event_time import timed
from tasks.data.profile import column_kinds, feature_suite, raw_suite
from tasks.data.validation import Validation, load_suite, validate
from tasks.spec import DatasetSpec

NUMBERS = ["plain", "around_zero", "negative", "skewed", "heavy", "count", "with_nulls", "huge", "tiny"]
FEATURES = {name: Feature(type="number") for name in NUMBERS} | {
    "town": Feature(type="category"),
    "code": Feature(type="category"),
    "paid": Feature(type="boolean"),
}


def rides(rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows of every kind of column that an author may bring."""
    draw = np.random.default_rng(seed)
    plain = draw.normal(50, 12, rows)
    frame = pd.DataFrame(
        {
            "at": pd.date_range("2013-01-01", "2013-02-27", periods=rows),
            "number": np.arange(rows) + 17_000,
            "plain": plain,
            "around_zero": draw.normal(0, 3, rows),
            "negative": -draw.gamma(9, 1, rows),
            "skewed": draw.lognormal(1, 0.8, rows),
            "heavy": draw.standard_t(4, rows) * 20 + 10,
            "count": draw.poisson(30, rows),
            "with_nulls": np.where(draw.random(rows) < 0.3, np.nan, plain),
            "huge": draw.normal(3e12, 4e11, rows),
            "tiny": draw.normal(3e-7, 4e-8, rows),
            "constant": 7.0,
            "infinite": np.where(draw.random(rows) < 0.02, np.inf, plain),
            "empty": np.nan,
            "town": draw.choice(["Aue", "Bern", "Chur"], rows),
            "code": [f"c{n % 90}" for n in range(rows)],
            "paid": draw.random(rows) < 0.4,
            "said": np.where(draw.random(rows) < 0.1, None, np.where(draw.random(rows) < 0.5, "yes", "no")),
        }
    )
    return timed(frame, "at")


@pytest.fixture
def hold(folder: Path) -> Callable[[str, pd.DataFrame], Validation]:
    """Loads a suite's text strictly and holds a frame against it."""

    def held(text: str, frame: pd.DataFrame) -> Validation:
        (folder / "proposed.json").write_text(text)
        return validate(frame, load_suite(folder / "proposed.json"))

    return held


@pytest.mark.parametrize("rows", [12, 90, 900, 20_000])
def test_a_proposed_raw_suite_passes_on_its_own_data_whatever_its_size(dataset: Callable[..., DatasetSpec], hold: Callable[..., Validation], rows: int) -> None:
    frame = rides(rows)

    found = hold(raw_suite(dataset(), frame), frame)

    assert found.findings == ()


def test_it_passes_on_each_batch_of_its_data_and_on_other_data_of_the_same_kind(dataset: Callable[..., DatasetSpec], hold: Callable[..., Validation]) -> None:
    frame = rides(4_000)
    text = raw_suite(dataset(), frame)

    assert not hold(text, frame[frame["event_time"] < "2013-02-01"]).blocked
    assert not hold(text, frame[frame["event_time"] >= "2013-02-01"]).blocked
    assert not hold(text, rides(4_000, seed=1).assign(number=np.arange(4_000) + 21_000)).blocked


@pytest.mark.parametrize("rows", [300, 4_000])
@pytest.mark.parametrize("factor", [1.6, 1 / 1.6])
def test_another_unit_of_any_numeric_column_blocks(dataset: Callable[..., DatasetSpec], hold: Callable[..., Validation], rows: int, factor: float) -> None:
    frame = rides(rows)
    text = raw_suite(dataset(), frame)

    found = hold(text, frame.assign(**{name: frame[name] * factor for name in NUMBERS}))

    assert {f.column for f in found.findings if f.severity == "critical"} == set(NUMBERS)


def test_a_half_batch_an_unknown_coding_a_missing_and_an_emptied_column_block(dataset: Callable[..., DatasetSpec], hold: Callable[..., Validation]) -> None:
    frame = rides(900)
    text = raw_suite(dataset(period="all"), frame)

    assert not hold(text, frame.iloc[::2]).blocked
    for broken in (
        frame.iloc[::3],
        frame.assign(town=frame["town"].str.lower()),
        frame.drop(columns="plain"),
        frame.assign(said=None),
        frame.assign(count=frame["count"].astype(str)),
    ):
        assert hold(text, broken).blocked


def test_a_value_that_was_never_seen_is_a_warning(dataset: Callable[..., DatasetSpec], hold: Callable[..., Validation]) -> None:
    frame = rides(900)

    found = hold(raw_suite(dataset(), frame), frame.assign(town=np.where(np.arange(900) % 10 == 0, "Davos", frame["town"])))

    assert [(f.column, f.severity) for f in found.findings] == [("town", "warning")]


def test_a_season_in_a_column_makes_its_unit_check_a_warning_or_picks_a_steadier_statistic(
    dataset: Callable[..., DatasetSpec], hold: Callable[..., Validation]
) -> None:
    frame = rides(4_000)
    season = np.linspace(10, 90, 4_000)
    frame = frame.assign(warming=season + frame["around_zero"], rising=season * frame["plain"])
    text = raw_suite(dataset(), frame)

    assert hold(text, frame).findings == ()
    assert not hold(text, frame.iloc[2_500:]).blocked


def test_a_proposed_feature_suite_passes_on_its_own_rows_and_blocks_another_unit(hold: Callable[..., Validation]) -> None:
    frame = rides(900).assign(prediction=lambda rows: rows["plain"] / 100, town=lambda rows: rows["town"].where(rows.index % 9 != 0, ""))
    text = feature_suite("rides", "rides_late", frame, FEATURES)

    assert hold(text, frame).findings == ()
    assert hold(text, frame.assign(town=frame["town"].replace("", None))).findings == ()
    assert hold(text, frame.assign(prediction=frame["prediction"] * 1.6)).blocked
    assert hold(text, frame.iloc[:29]).blocked


def test_kinds_are_told_from_the_columns() -> None:
    kinds = column_kinds(rides(50))

    assert [kinds[name] for name in ("at", "count", "plain", "town", "paid", "said")] == ["time", "integer", "number", "category", "boolean", "category"]
