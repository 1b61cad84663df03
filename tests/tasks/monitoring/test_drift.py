"""Scores are Evidently's; thresholds are calibrated; nothing that cannot be compared ever passes for "no drift"."""

import math

import numpy as np
import pandas as pd
import pytest
from served import day, draw

from bentos.runtime.contract import Contract, Feature
from tasks.errors import PlatformError
from tasks.monitoring.columns import kinds
from tasks.monitoring.drift import Column, Drift, finding, report
from tasks.monitoring.evidently_report import Judgement, Pair, compare, judgements
from tasks.monitoring.thresholds import blocks, calibrate, missing_limits, scores
from tasks.spec import ModelSpec, Monitoring

NUMBER, CATEGORY = Feature(type="number", nullable=True), Feature(type="category")
WIDE = Contract(name="wide", task="binary", features={f"n{i}": NUMBER for i in range(8)} | {f"c{i}": CATEGORY for i in range(4)})
MONTHLY = Monitoring(window="month")


def wide(rows: int, seed: int) -> pd.DataFrame:
    """Independent rows over twelve weeks: normal, skewed, gridded and rare-valued numbers, and categories from few to many."""
    rng = np.random.default_rng(seed)
    numbers = [rng.normal(size=rows), rng.gamma(2, 2, rows), rng.integers(0, 7, rows), rng.poisson(0.1, rows), rng.standard_t(3, rows)]
    numbers += [rng.uniform(size=rows), rng.lognormal(size=rows), rng.normal(50, 10, rows).round()]
    categories = [rng.choice([f"v{k}" for k in range(size)], rows) for size in (3, 8, 16, 100)]
    frame = pd.DataFrame({f"n{i}": values for i, values in enumerate(numbers)} | {f"c{i}": values for i, values in enumerate(categories)})
    frame["prediction"] = rng.beta(2, 5, rows)
    frame["event_time"] = pd.Timestamp("2013-01-07") + pd.to_timedelta(np.linspace(0, 84, rows, endpoint=False), unit="D")
    return frame


def found(drift: Drift, name: str) -> Column:
    return next(column for column in drift.columns if column.name == name)


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return draw(day("2013-01-07"), 84, 10_000, seed=7)


def judged(reference: pd.DataFrame, current: pd.DataFrame, spec: ModelSpec) -> Drift:
    return report(reference, current, calibrate(reference, spec.contract, spec.monitoring), spec.contract, spec.monitoring)


def test_scores_are_those_of_evidently() -> None:
    had, has = wide(3_000, 1), wide(2_000, 2)
    has["n0"] += 0.3
    has.loc[:500, "n1"] = np.nan
    has.loc[:5, "n4"] = np.inf
    has.loc[:300, "c1"] = None
    has.loc[:100, "c2"] = "never seen"
    has["n3"] = 0.0
    thresholds = dict.fromkeys(kinds(WIDE), 0.1)

    ours = scores(had, has, WIDE)
    theirs = {column.name: column.score for column in report(had, has, thresholds, WIDE, MONTHLY).columns}

    assert ours == pytest.approx(theirs, abs=1e-9)
    assert ours["n0"] > 0.2


def test_categories_beyond_the_top_twenty_count_as_one() -> None:
    had, has = wide(4_000, 1), wide(4_000, 2)
    rare = set(had["c3"].value_counts().index[20:])
    has["c3"] = has["c3"].where(~has["c3"].isin(rare), "one of them")

    assert scores(had, has, WIDE)["c3"] < 0.05


def test_same_distribution_stays_silent() -> None:
    reference = wide(20_000, 0)
    thresholds = calibrate(reference, WIDE, MONTHLY)

    alarms = [score >= thresholds[name] for seed in range(1, 21) for name, score in scores(reference, wide(5_000, seed), WIDE).items()]

    assert len(alarms) == 20 * 13
    assert np.mean(alarms) <= 0.01


def test_a_fifth_of_a_standard_deviation_alarms_at_ten_thousand_rows() -> None:
    reference = wide(10_000, 0)
    current = wide(10_000, 1)
    current["n0"] += 0.2

    drift = report(reference, current, calibrate(reference, WIDE, MONTHLY), WIDE, MONTHLY)

    assert [column.name for column in drift.having("drifted")] == ["n0"]
    assert drift.share == pytest.approx(1 / 13)


def test_a_category_that_jumps_alarms(reference: pd.DataFrame, spec: ModelSpec) -> None:
    current = draw(day("2013-04-01"), 30, 5_000, seed=1)
    current.loc[current["event_time"].dt.day % 4 == 0, "carrier"] = "a new one"

    drift = judged(reference, current, spec)

    assert [column.name for column in drift.having("drifted")] == ["carrier"]


def test_blocks_that_differ_raise_the_threshold() -> None:
    reference = wide(12_000, 0)
    weeks = (reference["event_time"] - pd.Timestamp("2013-01-07")) // pd.Timedelta(days=7)
    reference["n0"] += np.random.default_rng(3).normal(0, 1, 12)[weeks]

    thresholds = calibrate(reference, WIDE, MONTHLY)

    assert thresholds["n0"] > 0.5
    assert thresholds["n5"] == MONTHLY.threshold_floor


@pytest.mark.parametrize(("days", "window", "expected"), [(84, "month", 12), (84, "week", 12), (84, "day", 84), (20, "month", 20), (3, "month", 10)])
def test_blocks_are_weeks_then_days_then_ten_parts(days: int, window: str, expected: int) -> None:
    assert blocks(draw(day("2013-01-07"), days, 5_000)["event_time"], window).nunique() == expected


def test_rows_in_any_order_calibrate_the_same(reference: pd.DataFrame, spec: ModelSpec) -> None:
    shuffled = reference.sample(frac=1, random_state=0)

    assert calibrate(shuffled, spec.contract, spec.monitoring) == pytest.approx(calibrate(reference, spec.contract, spec.monitoring))


def test_a_reference_of_one_moment_gets_the_floor(spec: ModelSpec) -> None:
    one = draw(day("2013-01-07"), 1, 1)

    assert set(calibrate(one, spec.contract, spec.monitoring).values()) == {spec.monitoring.threshold_floor}


def test_a_jump_of_nulls_is_drift_although_the_values_are_the_same(reference: pd.DataFrame, spec: ModelSpec) -> None:
    current = draw(day("2013-04-01"), 30, 5_000, seed=1)
    current.loc[current.index % 2 == 0, "temp"] = np.nan

    temp = found(judged(reference, current, spec), "temp")

    assert (temp.status, temp.note) == ("drifted", "51.0% missing, limit 5.0%")
    assert temp.score < temp.threshold


def test_nulls_as_usual_are_not_drift(reference: pd.DataFrame, spec: ModelSpec) -> None:
    gaps = reference.assign(temp=reference["temp"].where(np.random.default_rng(0).random(len(reference)) > 0.3))

    assert missing_limits(gaps, spec.contract, spec.monitoring)["temp"] == pytest.approx(0.36, abs=0.03)


def test_a_column_without_values_is_unusable_and_the_others_are_judged(reference: pd.DataFrame, spec: ModelSpec) -> None:
    current = draw(day("2013-04-01"), 30, 5_000, seed=1).drop(columns="distance")
    current["temp"], current["carrier"] = np.nan, None

    drift = judged(reference, current, spec)

    assert {column.name: column.note for column in drift.having("unusable")} == dict.fromkeys(["distance", "temp", "carrier"], "has no values in the window")
    assert {column.name for column in drift.having("stable")} == {"weekend", "prediction"}
    assert drift.columns[0].status == "unusable"


def test_text_where_numbers_belong_is_unusable(reference: pd.DataFrame, spec: ModelSpec) -> None:
    current = draw(day("2013-04-01"), 30, 1_000, seed=1).assign(distance="far")

    assert found(judged(reference, current, spec), "distance").status == "unusable"


def test_values_where_the_reference_has_none_are_unusable(reference: pd.DataFrame, spec: ModelSpec) -> None:
    drift = judged(reference.assign(temp=np.nan), draw(day("2013-04-01"), 30, 1_000, seed=1), spec)

    assert found(drift, "temp").note == "has no values in the reference"


def test_a_column_that_never_had_values_is_left_out(reference: pd.DataFrame, spec: ModelSpec) -> None:
    drift = judged(reference.assign(temp=np.nan), draw(day("2013-04-01"), 30, 1_000, seed=1).assign(temp=np.nan), spec)

    assert found(drift, "temp").status == "empty"
    assert drift.share == 0


def test_an_empty_window_compares_nothing(reference: pd.DataFrame, spec: ModelSpec) -> None:
    drift = judged(reference, reference.iloc[:0], spec)

    assert drift.share is None
    assert len(drift.having("unusable")) == 5
    assert drift.html == b""


def test_a_column_without_threshold_is_unusable(reference: pd.DataFrame, spec: ModelSpec) -> None:
    thresholds = calibrate(reference, spec.contract, spec.monitoring)
    thresholds.pop("temp")

    drift = report(reference, draw(day("2013-04-01"), 30, 1_000), thresholds, spec.contract, spec.monitoring)

    assert found(drift, "temp").status == "unusable"


def test_a_constant_column_is_stable_until_it_moves(reference: pd.DataFrame, spec: ModelSpec) -> None:
    constant = reference.assign(distance=100.0, carrier="AA")
    current = draw(day("2013-04-01"), 30, 1_000, seed=1).assign(distance=100.0, carrier="AA")

    same, moved = judged(constant, current, spec), judged(constant, current.assign(distance=101.0, carrier="DL"), spec)

    assert (found(same, "distance").status, found(same, "carrier").status) == ("stable", "stable")
    assert (found(moved, "distance").status, found(moved, "carrier").status) == ("drifted", "drifted")


def test_few_rows_give_a_verdict_and_no_crash(reference: pd.DataFrame, spec: ModelSpec) -> None:
    drift = judged(reference, draw(day("2013-04-01"), 30, 2), spec)

    assert not drift.having("unusable")
    assert all(math.isfinite(column.score) for column in drift.columns)


def test_predictions_are_compared_with_the_hold_out_only(reference: pd.DataFrame, spec: ModelSpec) -> None:
    held = reference["event_time"] >= pd.Timestamp("2013-03-11")
    overfitted = reference.assign(holdout=held, prediction=reference["prediction"].where(held, 0.99))
    current = draw(day("2013-04-01"), 30, 5_000, seed=1)

    assert scores(overfitted, current, spec.contract)["prediction"] < 0.1
    assert scores(overfitted.drop(columns="holdout"), current, spec.contract)["prediction"] > 1


def test_classes_are_compared_as_categories() -> None:
    contract = Contract(name="kinds", task="multiclass", features={"n0": NUMBER}, classes=("a", "b", "c"))
    had, has = wide(2_000, 0), wide(2_000, 1)
    had["prediction"], has["prediction"] = np.resize(["a", "b", "c"], 2_000), np.resize(["a", "a", "a", "c"], 2_000)

    drift = report(had, has, calibrate(had, contract, MONTHLY), contract, MONTHLY)

    assert found(drift, "prediction").kind == "category"
    assert found(drift, "prediction").status == "drifted"


def test_only_a_sample_is_compared(reference: pd.DataFrame, spec: ModelSpec) -> None:
    small = spec.monitoring.model_copy(update={"sample": 1_000})

    drift = report(reference, draw(day("2013-04-01"), 30, 5_000), dict.fromkeys(kinds(spec.contract), 0.3), spec.contract, small)

    assert {len(side) for sides in drift.sides.values() for side in sides} == {1_000}


def test_the_report_is_evidently_s_own_with_a_method_and_a_threshold_for_each_column(reference: pd.DataFrame, spec: ModelSpec) -> None:
    drift = judged(reference, draw(day("2013-04-01"), 30, 1_000), spec)

    assert drift.html.lstrip().startswith(b"<!DOCTYPE html>") or b"<html" in drift.html[:200]
    assert "ValueDrift(column=carrier,method=jensenshannon,threshold=0.1)" in drift.json
    assert "ValueDrift(column=distance,method=wasserstein,threshold=0.1" in drift.json


@pytest.mark.parametrize("status", ["ERROR", "SKIPPED", "WARNING", ""])
def test_a_test_that_neither_passes_nor_fails_is_not_no_drift(status: str) -> None:
    of = {"type": "evidently:metric_v2:ValueDrift", "column": "temp"}
    content = {"metrics": [{"config": of, "value": 0.01}], "tests": [{"metric_config": {"params": of}, "status": status}] if status else []}
    values = pd.Series([1.0, 2.0])

    column = finding(Pair("temp", "number", values, values, 0.1), judgements(content)["temp"])

    assert column.status == "unusable"
    assert column.note == "was not judged by Evidently"


def test_a_score_that_is_no_number_is_not_no_drift() -> None:
    values = pd.Series([1.0, 2.0])

    assert finding(Pair("temp", "number", values, values, 0.1), Judgement(math.nan, "SUCCESS")).status == "unusable"


def test_a_failure_of_evidently_is_told_and_decides_nothing() -> None:
    nothing = pd.Series([np.nan, np.nan])

    with pytest.raises(PlatformError, match="Evidently could not compare the window"):
        compare([Pair("temp", "number", nothing, nothing, 0.1)], "the window")
