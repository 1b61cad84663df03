"""The metrics are scikit-learn's; a window decays only when it is surely worse."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from served import HOLDOUT, day, draw, write_labels, write_predictions
from sklearn import metrics

from tasks.monitoring.log import read
from tasks.monitoring.performance import Performance, judge, measure, time_blocks
from tasks.spec import Gate, Label, ModelSpec, Monitoring

CLASSES = ("a", "b", "c")


def answers(rows: int = 4_000, seed: int = 0, informative: bool = True, days: float = 30) -> pd.DataFrame:
    frame = draw(day("2013-04-01"), days, rows, seed=seed, informative=informative)
    return pd.DataFrame({"event_time": frame["event_time"], "score": frame["prediction"].round(2), "label": frame["label"].astype(float)})


def of(spec: ModelSpec, metric: str, **changed: Any) -> ModelSpec:
    return spec.model_copy(update={"gate": Gate(metric=metric, draws=200), **changed})  # type: ignore[arg-type]  # the parameter of a test


def multiclass(spec: ModelSpec, metric: str) -> tuple[ModelSpec, pd.DataFrame]:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([2, 1, 1], 1_000)
    rows = answers(1_000).assign(score=list(scores), label=[rng.choice(CLASSES, p=each) for each in scores])
    return of(spec, metric, task="multiclass", classes=CLASSES, label=Label(column="x")), rows


def regression(spec: ModelSpec, metric: str, off: float = 0.0) -> tuple[ModelSpec, pd.DataFrame]:
    rng = np.random.default_rng(0)
    rows = answers(1_000)
    rows["label"] = rng.normal(100, 20, 1_000)
    rows["score"] = rows["label"] + rng.normal(off, 5, 1_000)
    monitoring = Monitoring(window="month", min_rows=500, min_labels=200, decay=1.0)
    return of(spec, metric, task="regression", label=Label(column="x"), monitoring=monitoring), rows


def value(rows: pd.DataFrame, spec: ModelSpec) -> float:
    return float(measure(rows, np.zeros(len(rows), int), spec, np.ones((1, 1)))[0])


def test_binary_metrics_are_those_of_scikit_learn(spec: ModelSpec) -> None:
    rows = answers()

    assert value(rows, of(spec, "roc_auc")) == pytest.approx(metrics.roc_auc_score(rows["label"], rows["score"]), abs=1e-12)
    assert value(rows, of(spec, "accuracy")) == pytest.approx(metrics.accuracy_score(rows["label"], rows["score"] >= 0.5), abs=1e-12)
    assert value(rows, of(spec, "log_loss")) == pytest.approx(metrics.log_loss(rows["label"], rows["score"].clip(1e-7, 1 - 1e-7)), abs=1e-9)


def test_multiclass_metrics_are_those_of_scikit_learn(spec: ModelSpec) -> None:
    accuracy, rows = multiclass(spec, "accuracy")
    scores = np.array(rows["score"].tolist())

    assert value(rows, accuracy) == pytest.approx(metrics.accuracy_score(rows["label"], np.array(CLASSES)[scores.argmax(axis=1)]), abs=1e-12)
    assert value(rows, multiclass(spec, "log_loss")[0]) == pytest.approx(metrics.log_loss(rows["label"], scores, labels=CLASSES), abs=1e-9)


def test_regression_metrics_are_those_of_scikit_learn(spec: ModelSpec) -> None:
    mae, rows = regression(spec, "mae")

    assert value(rows, mae) == pytest.approx(metrics.mean_absolute_error(rows["label"], rows["score"]), abs=1e-12)
    assert value(rows, regression(spec, "rmse")[0]) == pytest.approx(metrics.root_mean_squared_error(rows["label"], rows["score"]), abs=1e-12)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_a_block_s_weight_is_the_weight_of_its_rows(metric: str, spec: ModelSpec) -> None:
    rows, weights = answers(500), np.array([0.0, 3.0, 1.0, 2.0, 1.0, 0.0, 5.0])
    blocks = np.arange(500) % 7
    of_sklearn = {
        "roc_auc": metrics.roc_auc_score,
        "log_loss": metrics.log_loss,
        "accuracy": lambda y, p, sample_weight: metrics.accuracy_score(y, p >= 0.5, sample_weight=sample_weight),
    }

    found = measure(rows, blocks, of(spec, metric), weights[None, :])[0]

    assert found == pytest.approx(of_sklearn[metric](rows["label"], rows["score"].clip(1e-7, 1 - 1e-7), sample_weight=weights[blocks]), abs=1e-9)


def test_a_window_like_the_hold_out_has_not_decayed(spec: ModelSpec) -> None:
    found = judge(answers(), spec, HOLDOUT)

    assert found.value == pytest.approx(HOLDOUT, abs=0.02)
    assert found.low < found.value < found.high
    assert not found.decayed(spec.monitoring.decay)


def test_coins_for_labels_are_decay(spec: ModelSpec) -> None:
    found = judge(answers(informative=False), spec, HOLDOUT)

    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.decayed(spec.monitoring.decay)


def test_worse_but_not_surely_is_not_decay(spec: ModelSpec) -> None:
    found = judge(answers(rows=250), spec, HOLDOUT + 0.06)

    assert found.value is not None
    assert found.value < HOLDOUT + 0.06 - spec.monitoring.decay
    assert not found.decayed(spec.monitoring.decay)


def test_a_loss_decays_upwards(spec: ModelSpec) -> None:
    mae, rows = regression(spec, "mae", off=12.0)

    assert judge(rows, mae, 4.0).decayed(1.0)
    assert not judge(rows, mae, 11.5).decayed(1.0)
    assert not judge(regression(spec, "mae")[1], mae, 40.0).decayed(1.0)


def test_days_that_differ_widen_the_bounds(spec: ModelSpec) -> None:
    rows = answers()
    rows["score"] = np.where(rows["event_time"].dt.day % 5 == 0, 0.5, rows["score"])
    by_day = judge(rows, spec, HOLDOUT)
    shuffled = rows.assign(event_time=rows["event_time"].sample(frac=1, random_state=0).to_numpy())

    by_chance = judge(shuffled, spec, HOLDOUT)

    assert by_day.high - by_day.low > 1.5 * (by_chance.high - by_chance.low)


def test_the_same_rows_give_the_same_bounds(spec: ModelSpec) -> None:
    assert judge(answers(), spec, HOLDOUT) == judge(answers(), spec, HOLDOUT)


def test_a_window_of_one_class_is_not_judged_and_says_so(spec: ModelSpec) -> None:
    found = judge(answers().assign(label=0.0), spec, HOLDOUT)

    assert found.value is None
    assert found.reason == "all 4,000 labels are false, so there is nothing to tell apart"
    assert not found.decayed(0.0)
    assert found.facts() == {"reference": HOLDOUT}


def test_a_class_that_is_all_but_absent_is_not_judged(spec: ModelSpec) -> None:
    rows = answers().assign(label=0.0)
    rows.loc[0, "label"] = 1.0

    assert "so rare" in judge(rows, spec, HOLDOUT).reason


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize(("column", "value"), [("label", 1e308), ("score", np.inf), ("score", np.nan)])
def test_what_is_no_finite_number_is_never_no_decay(spec: ModelSpec, metric: str, column: str, value: float) -> None:
    of_metric, rows = regression(spec, metric)
    rows.loc[7, column] = value

    found = judge(rows, of_metric, 4.0)

    assert found.unusable
    assert found.reason.startswith(f"{metric} is ")
    assert found.reason.endswith(" on 1,000 labelled rows and 4 on the hold-out, and it or its bounds are no finite numbers")
    assert found.facts() == {"reference": 4.0}


def test_a_label_beyond_what_feedback_takes_is_no_label(tmp_path: Path, spec: ModelSpec) -> None:
    ids = write_predictions(tmp_path, draw(day("2013-04-01"), 30, 5), score=113.5, prediction=113.5)
    write_labels(tmp_path, ids, [1e30, -1e30, 1e31, -1e308, "inf"], ["2013-05-01T00:00:00Z"] * 5)

    labels = read(tmp_path, regression(spec, "mae")[0], timedelta(days=1), []).answers["label"]

    assert labels.tolist()[:2] == [1e30, -1e30]
    assert labels.isna().tolist() == [False, False, True, True, True]


def test_probabilities_that_add_up_to_nothing_are_never_no_decay(spec: ModelSpec) -> None:
    of_metric, rows = multiclass(spec, "log_loss")
    rows.at[7, "score"] = [0.0, 0.0, 0.0]

    assert judge(rows, of_metric, 1.0).unusable


def test_a_rare_class_is_not_a_fault(spec: ModelSpec) -> None:
    rows = answers().assign(label=0.0)
    rows.loc[0, "label"] = 1.0

    assert not judge(rows, spec, HOLDOUT).unusable


def test_too_few_labels_are_not_judged(spec: ModelSpec) -> None:
    rows = answers()
    rows.loc[150:, "label"] = np.nan

    assert judge(rows, spec, HOLDOUT).reason == "150 labels, and at least 200 are needed"


def test_rows_without_label_do_not_count(spec: ModelSpec) -> None:
    rows = answers()
    rows.loc[rows.index % 2 == 0, "label"] = np.nan

    found = judge(rows, spec, HOLDOUT)

    assert found.labelled == 2_000
    assert found.value == pytest.approx(metrics.roc_auc_score(rows["label"].dropna(), rows["score"][rows["label"].notna()]))


@pytest.mark.parametrize(("days", "expected"), [(30.0, 30), (1.0, 24), (0.01, 15), (0.0, 200)])
def test_blocks_are_the_longest_of_which_there_are_enough(days: float, expected: int) -> None:
    times = pd.Series(pd.Timestamp("2013-04-01") + pd.to_timedelta(np.linspace(0, days, 4_000, endpoint=False), unit="D"))

    blocks = time_blocks(times)

    assert blocks.max() + 1 == expected
    assert set(blocks) == set(range(expected))


def test_a_performance_without_value_never_decays() -> None:
    assert not Performance("roc_auc", 0, HOLDOUT, reason="no labels").decayed(0.0)
