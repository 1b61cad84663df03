"""Metrics with weights, and the block bootstrap of a paired gain."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from tasks.spec import Gate
from tasks.training.metrics import Array, Measure, block_codes, bootstrap_gain

CLASSES = ("b", "a", "c")


def data(rows: int = 400, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype("float64")
    scores = np.clip((labels + rng.normal(size=rows)).round(1) / 4 + 0.4, 0.01, 0.99)  # rounded: many ties
    return labels, scores, rng.integers(0, 4, rows).astype("float64")


def test_weighted_auc_with_ties_equals_scikit_learns() -> None:
    labels, scores, weights = data()

    statistic = Measure("roc_auc", "binary").statistic(labels, scores)

    assert statistic(weights) == pytest.approx(sk.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
    assert statistic(np.ones(len(labels))) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)


def test_the_other_metrics_equal_scikit_learns() -> None:
    labels, scores, weights = data()
    rng = np.random.default_rng(1)
    codes, three = rng.integers(0, 3, 400), rng.dirichlet(np.ones(3), 400)
    names = np.array(CLASSES, dtype=object)[codes]
    order = [CLASSES.index(name) for name in sorted(CLASSES)]

    def of(metric: Any, task: Any, codes: Array, scores: Array) -> float:
        return Measure(metric, task, CLASSES).statistic(codes, scores)(weights)

    assert of("log_loss", "binary", labels, scores) == pytest.approx(sk.log_loss(labels, scores, sample_weight=weights))
    assert of("accuracy", "binary", labels, scores) == pytest.approx(sk.accuracy_score(labels, scores >= 0.5, sample_weight=weights))
    assert of("mae", "regression", labels, scores) == pytest.approx(sk.mean_absolute_error(labels, scores, sample_weight=weights))
    assert of("rmse", "regression", labels, scores) == pytest.approx(sk.root_mean_squared_error(labels, scores, sample_weight=weights))
    assert (Measure("log_loss", "multiclass", CLASSES).codes(pd.Series(names)) == codes).all()
    assert of("log_loss", "multiclass", codes, three) == pytest.approx(sk.log_loss(names, three[:, order], sample_weight=weights))
    assert of("accuracy", "multiclass", codes, three) == pytest.approx(sk.accuracy_score(codes, three.argmax(axis=1), sample_weight=weights))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_a_metric_that_is_not_defined_is_nan(metric: Any) -> None:
    measure, labels = Measure(metric, "binary"), np.array([0.0, 1.0, 1.0])

    assert np.isnan(measure.value(labels, np.array([0.1, np.nan, 0.4])))
    assert np.isnan(measure.value(labels[:0], labels[:0]))
    assert np.isnan(Measure("roc_auc", "binary").value(labels[1:], labels[1:])), "one class only"


def test_blocks_are_days_entities_or_rows() -> None:
    frame = pd.DataFrame({"event_time": pd.to_datetime(["2024-01-01 01:00", "2024-01-01 23:00", "2024-01-02 00:00"]), "entity": ["a", "b", "a"]})

    assert block_codes(frame, "day").tolist() == [0, 0, 1]
    assert block_codes(frame, "entity").tolist() == [0, 1, 0]
    assert block_codes(frame, "row").tolist() == [0, 1, 2]


def test_the_bootstrap_is_the_same_for_the_same_seed_and_its_bounds_are_in_order() -> None:
    labels, scores, _ = data()
    worse, blocks = np.random.default_rng(3).permutation(scores), np.arange(400) // 20
    measure, gate = Measure("roc_auc", "binary"), Gate(metric="roc_auc")

    first, again, other = (bootstrap_gain(measure, labels, scores, worse, blocks, gate, seed) for seed in (7, 7, 8))

    assert first == again != other
    assert 0 < first.low < first.median < first.high
    opposite = bootstrap_gain(measure, labels, worse, scores, blocks, gate, 7)
    assert (opposite.low, opposite.high) == (-first.high, -first.low)


@pytest.mark.parametrize("blocks", [6, 12, 30])
def test_with_few_blocks_the_lower_bound_is_that_of_students_t(blocks: int) -> None:
    """The plain percentile of so few blocks would lie a quarter (6) or a tenth (12) nearer to the mean, and promote too often."""
    day = np.repeat(np.arange(blocks), 50)
    better = np.random.default_rng(4).normal(0.3, 1.0, blocks)
    truth, ours, theirs = np.zeros(len(day)), np.full(len(day), 10.0) - better[day], np.full(len(day), 10.0)

    gain = bootstrap_gain(Measure("mae", "regression"), truth, ours, theirs, day, Gate(metric="mae", draws=10_000), 0)

    half_width = stats.t.ppf(0.95, blocks - 1) * better.std(ddof=1) / np.sqrt(blocks)
    assert gain.low == pytest.approx(better.mean() - half_width, abs=0.08 * half_width)
    assert gain.high == pytest.approx(better.mean() + half_width, abs=0.08 * half_width)


def test_a_draw_in_which_the_metric_is_not_defined_counts_as_the_worst() -> None:
    labels, scores = np.r_[np.ones(10), np.zeros(90)], np.linspace(0, 1, 100)

    gain = bootstrap_gain(Measure("roc_auc", "binary"), labels, scores, scores[::-1], np.arange(100) // 10, Gate(metric="roc_auc"), 0)

    assert gain.undefined > 100, "all positives are in one of ten blocks, which a third of the draws leaves out"
    assert gain.low == -np.inf
