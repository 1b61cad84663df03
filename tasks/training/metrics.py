"""Metrics as functions of row weights, and the block bootstrap of a paired gain."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Task
from tasks.spec import Gate, Metric, ModelSpec

Array = np.ndarray[Any, np.dtype[Any]]
Statistic = Callable[[Array], float]
MIN_BLOCKS = 5  # fewer blocks and the spread between them is not known
CLIP = 1e-7  # log loss: float32 scores cannot come nearer to 0 and 1


@dataclass(frozen=True)
class Measure:
    """A metric together with what it needs of the spec. `sign` is 1 when greater is better, else -1."""

    metric: Metric
    task: Task
    classes: tuple[str, ...] = ()
    threshold: float = 0.5

    @classmethod
    def of(cls, spec: ModelSpec) -> "Measure":
        """The measure that a model's gate uses."""
        return cls(spec.gate.metric, spec.task, spec.classes, spec.threshold)

    @property
    def sign(self) -> int:
        """1 when greater is better, else -1."""
        return 1 if self.metric in {"roc_auc", "accuracy"} else -1

    def codes(self, labels: "pd.Series[Any]") -> Array:
        """Labels as numbers: 0/1, the value, or the index of the class."""
        if self.task == "multiclass":
            return np.asarray(pd.Categorical(labels, categories=list(self.classes)).codes, "int64")
        return labels.to_numpy("float64")

    def statistic(self, codes: Array, scores: Array) -> Statistic:
        """The metric of these rows as a function of their weights; NaN when it is not defined."""
        if self.metric == "roc_auc":
            return _roc_auc(codes, scores)
        rows = self._rows(codes, scores)

        def mean(weights: Array) -> float:
            with np.errstate(invalid="ignore", divide="ignore"):
                return float(weights @ rows / weights.sum())

        return (lambda weights: sqrt(mean(weights))) if self.metric == "rmse" else mean

    def value(self, codes: Array, scores: Array) -> float:
        """The metric of these rows, NaN when it is not defined."""
        return self.statistic(codes, scores)(np.ones(len(codes))) if len(codes) else float("nan")

    def _rows(self, codes: Array, scores: Array) -> Array:
        """What each row contributes to the mean."""
        if self.task == "regression":
            error: Array = np.abs(scores - codes)
            return error if self.metric == "mae" else error * error
        if self.metric == "accuracy":
            said = scores.argmax(axis=1) if self.task == "multiclass" else scores >= self.threshold
            hit: Array = (said == codes).astype("float64")
            hit[np.isnan(scores).reshape(len(codes), -1).any(axis=1)] = np.nan
            return hit
        both = scores / scores.sum(axis=1, keepdims=True) if self.task == "multiclass" else np.column_stack([1 - scores, scores])
        loss: Array = -np.log(np.clip(both[np.arange(len(codes)), codes.astype("int64")], CLIP, 1.0))
        return loss


@dataclass(frozen=True)
class Gain:
    """How much better one model is than another, in units of the metric; greater is better whatever the metric.

    The bounds are one-sided. `undefined` counts the draws in which the metric could not be computed; they count as the worst.
    """

    low: float
    median: float
    high: float
    undefined: int = 0


def block_codes(frame: pd.DataFrame, block: str) -> Array:
    """Number of the block that each row belongs to: its day, its entity, or itself."""
    if block == "row":
        return np.arange(len(frame))
    column = frame["event_time"].dt.floor("D") if block == "day" else frame["entity"]
    return pd.factorize(column)[0]


def bootstrap_gain(measure: Measure, codes: Array, ours: Array, theirs: Array, blocks: Array, gate: Gate, seed: int) -> Gain:
    """Paired block bootstrap: blocks are drawn with replacement, both models are scored on the same draw.

    The quantiles are those of the expanded percentile interval, which corrects the plain one for few blocks
    (T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015).
    """
    count = int(blocks.max()) + 1
    first, second = measure.statistic(codes, ours), measure.statistic(codes, theirs)
    rng = np.random.default_rng(seed)
    gains = np.empty(gate.draws)
    for draw in range(gate.draws):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[blocks].astype("float64")
        gains[draw] = measure.sign * (first(weights) - second(weights))
    undefined = int(np.isnan(gains).sum())
    gains = np.sort(np.where(np.isnan(gains), -np.inf, gains))
    edge = int(_expanded(1 - gate.confidence, count) * gate.draws)
    return Gain(float(gains[edge]), float(np.median(gains)), float(gains[-1 - edge]), undefined)


def _expanded(alpha: float, blocks: int) -> float:
    from scipy.special import ndtr, stdtrit

    if blocks < 2:
        return 0.0
    return float(ndtr(stdtrit(blocks - 1, alpha) * sqrt(blocks / (blocks - 1))))


def _roc_auc(codes: Array, scores: Array) -> Statistic:
    """Share of (positive, negative) pairs that the scores put in order, ties counting half. Sorted once, then O(n) a call."""
    if np.isnan(scores).any():
        return lambda _: float("nan")
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], codes[order] == 1
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    tied = len(starts) < len(ordered)

    def auc(weights: Array) -> float:
        weights = weights[order]
        good = weights * positive
        bad = weights - good
        if tied:
            good, bad = np.add.reduceat(good, starts), np.add.reduceat(bad, starts)
        pairs = good.sum() * bad.sum()
        return float(good @ (np.cumsum(bad) - bad / 2) / pairs) if pairs else float("nan")

    return auc
