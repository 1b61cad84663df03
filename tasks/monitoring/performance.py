"""Performance on a window's labelled rows, with bounds by a bootstrap over blocks of time, held against the hold-out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.spec import Metric, ModelSpec

Array = np.ndarray[Any, np.dtype[Any]]
HIGHER_IS_BETTER: frozenset[Metric] = frozenset({"roc_auc", "accuracy"})
FEWEST_BLOCKS = 5  # fewer blocks and the spread between them is not known
PARTS = 200
CLIP = 1e-7  # log loss: float32 scores cannot come nearer to 0 and 1


@dataclass(frozen=True)
class Performance:
    """The gate metric of a window: value, one-sided bounds, and the value on the hold-out. Without a value, `reason` says why it was not judged.

    `unusable` when there are labels enough and still no finite metric: something is wrong, which is never the same as no decay.
    """

    metric: Metric
    labelled: int
    reference: float
    value: float | None = None
    low: float = np.nan
    high: float = np.nan
    reason: str = ""
    unusable: bool = False

    def decayed(self, tolerance: float) -> bool:
        """True when surely worse than on the hold-out by more than `tolerance`, in units of the metric: even its better bound is."""
        if self.value is None:
            return False
        return (self.reference - self.high if self.metric in HIGHER_IS_BETTER else self.low - self.reference) > tolerance

    def facts(self) -> dict[str, float]:
        """What the ledger keeps."""
        found = {"reference": self.reference}
        return found if self.value is None else found | {"value": self.value, "low": self.low, "high": self.high}


def judge(answers: pd.DataFrame, spec: ModelSpec, reference: float) -> Performance:
    """Score the rows that have a label.

    Args:
        answers: event_time, score (list of class probabilities for multiclass) and label, as `log.read` gives them.
        reference: The metric on the version's hold-out.
    """
    rows = answers[answers["label"].notna()]
    metric, least = spec.gate.metric, spec.monitoring.min_labels
    if len(rows) < least:
        return Performance(metric, len(rows), reference, reason=f"{len(rows):,} labels, and at least {least:,} are needed")
    if spec.task != "regression" and rows["label"].nunique() < 2:
        only = rows["label"].iloc[0]
        named = str(bool(only)).lower() if spec.task == "binary" else only
        return Performance(metric, len(rows), reference, reason=f"all {len(rows):,} labels are {named}, so there is nothing to tell apart")
    blocks = time_blocks(rows["event_time"])
    number = int(blocks.max()) + 1
    draws = np.random.default_rng(spec.seed).multinomial(number, np.full(number, 1 / number), size=spec.gate.draws)
    with np.errstate(all="ignore"):  # what is not finite is found below
        value, *drawn = measure(rows, blocks, spec, np.vstack([np.ones(number), draws]))
    tail = _tail(1 - spec.gate.confidence, number)
    if not np.isfinite([value, reference]).all() or np.isinf(drawn).any():
        found = f"{metric} is {value:.4g} on {len(rows):,} labelled rows and {reference:.4g} on the hold-out"
        return Performance(metric, len(rows), reference, reason=f"{found}, and it or its bounds are no finite numbers", unusable=True)
    if np.isnan(drawn).mean() > tail:
        return Performance(metric, len(rows), reference, reason=f"one class is so rare in {len(rows):,} labels that the bounds of {metric} cannot be told")
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Performance(metric, len(rows), reference, float(value), float(low), float(high))


def time_blocks(times: "pd.Series[Any]") -> Array:
    """Number of each row's block, from 0. Days, because rows of a day are alike; with too few of them hours, then minutes, then equal parts."""
    for unit in ("D", "h", "min"):
        codes, found = pd.factorize(times.dt.floor(unit))
        if len(found) >= FEWEST_BLOCKS:
            return np.asarray(codes)
    return np.arange(len(times)) * min(len(times), PARTS) // len(times)


def measure(rows: pd.DataFrame, blocks: Array, spec: ModelSpec, weights: Array) -> Array:
    """The gate metric for each row of `weights` (one weight a block); NaN where the weighted rows hold one class only and the metric needs two."""
    if spec.gate.metric == "roc_auc":
        return _roc_auc(rows["score"].to_numpy(float), rows["label"].to_numpy(float) > 0.5, blocks, weights)
    means: Array = weights @ np.bincount(blocks, _losses(rows, spec)) / (weights @ np.bincount(blocks))
    return np.sqrt(means) if spec.gate.metric == "rmse" else means


def _losses(rows: pd.DataFrame, spec: ModelSpec) -> Array:
    """What each row adds to the mean."""
    metric = spec.gate.metric
    if spec.task == "multiclass":
        scores = np.array(rows["score"].tolist(), dtype=float)
        truth: Array = pd.Index(spec.classes).get_indexer(pd.Index(rows["label"]))
        hit, given = scores.argmax(axis=1) == truth, scores[np.arange(len(scores)), truth] / scores.sum(axis=1)
    else:
        score: Array = rows["score"].to_numpy(float)
        label: Array = rows["label"].to_numpy(float)
        if spec.task == "regression":
            off: Array = np.abs(label - score)
            return off if metric == "mae" else off**2
        hit, given = (score >= spec.threshold) == (label > 0.5), np.where(label > 0.5, score, 1 - score)
    return np.asarray(hit, float) if metric == "accuracy" else np.asarray(-np.log(np.clip(given, CLIP, 1.0)))


def _roc_auc(score: Array, positive: Array, blocks: Array, weights: Array) -> Array:
    """Area under the ROC curve as the share of (positive, negative) pairs in order, ties counting half.

    The pairs between every two blocks are counted once; a draw is then w'Aw / w'Bw, whatever the number of rows.
    """
    number = weights.shape[1]
    ordered = np.zeros((number, number))
    for block in range(number):
        rivals = np.sort(score[~positive & (blocks == block)])
        below = (np.searchsorted(rivals, score[positive], "left") + np.searchsorted(rivals, score[positive], "right")) / 2
        ordered[:, block] = np.bincount(blocks[positive], below, minlength=number)
    pairs = np.outer(np.bincount(blocks[positive], minlength=number), np.bincount(blocks[~positive], minlength=number))
    with np.errstate(invalid="ignore"):
        area: Array = ((weights @ ordered) * weights).sum(axis=1) / ((weights @ pairs) * weights).sum(axis=1)
    return area


def _tail(alpha: float, blocks: int) -> float:
    """Quantile to read off for a one-sided error of `alpha`: the expanded percentile interval, because the plain one is too narrow with few blocks.

    T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015, section 4.3.
    """
    from scipy.special import ndtr, stdtrit

    return float(ndtr(stdtrit(blocks - 1, alpha) * np.sqrt(blocks / (blocks - 1))))
