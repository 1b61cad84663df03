"""The gate: a challenger replaces the champion only when it is surely better on rows that neither was trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from tasks.ledger.rows import GateResult
from tasks.spec import ModelSpec
from tasks.training.metrics import MIN_BLOCKS, Array, Gain, Measure, block_codes, bootstrap_gain

MOST_VALUES = 12  # a number with more values is sliced into quarters
MOST_SLICES = 3  # named in the reasons, the worst first; all are in the table


@dataclass(frozen=True)
class Rivals:
    """Scores of the same later rows. `champion` is None for a first version: then the trivial model is the one to beat."""

    challenger: Array
    champion: Array | None
    simple: Array
    trivial: Array

    @property
    def incumbent(self) -> Array:
        """What the challenger must beat."""
        return self.trivial if self.champion is None else self.champion


def judge(later: pd.DataFrame, rivals: Rivals, spec: ModelSpec, champion: str = "", leaks: Sequence[object] = ()) -> GateResult:
    """Accept or refuse, with the reasons.

    Args:
        later: Rows (features, `event_time`, `label`, maybe `entity`) later than the cut-off of both models.
        rivals: Everybody's scores of these rows.
        spec: The model's spec; its gate holds the rules, its seed draws the blocks.
        champion: Name of the champion's version; empty when there is none.
        leaks: What the leak check found; anything refuses.
    """
    measure, gate = Measure.of(spec), spec.gate
    codes = measure.codes(later["label"])
    blocks = block_codes(later, gate.block)
    count = int(blocks.max()) + 1 if len(blocks) else 0
    scores = {name: measure.value(codes, found) for name, found in vars(rivals).items() if found is not None}
    against = "champion" if champion else "trivial"
    problems = [*_unfit(later, count, scores, spec), *map(str, leaks)]
    gain, slices, words = None, {}, []
    if count >= 2 and all(map(isfinite, scores.values())):
        gain = bootstrap_gain(measure, codes, rivals.challenger, rivals.incumbent, blocks, gate, spec.seed)
        every = _slices(later, measure, codes, rivals, spec)
        slices = {name: found for name, found in every.items() if isfinite(found[1]) and isfinite(found[2])}
        problems += _not_better(gain, against, spec)
        if champion:
            problems += _not_better(bootstrap_gain(measure, codes, rivals.challenger, rivals.trivial, blocks, gate, spec.seed), "trivial", spec, effect=0.0)
        problems += _worse_slices(slices, measure, spec)
        words = [_summary(scores, gain, against, len(later), count, spec)]
        words += [f"slice {name} was not judged: {gate.metric} is not defined on it" for name in every if name not in slices]
    return GateResult(
        accepted=not problems and gain is not None,
        reasons=(*problems, *words),
        metric=gate.metric,
        rows=len(later),
        blocks=count,
        champion=champion,
        scores={name: value for name, value in scores.items() if isfinite(value)},
        gain=(gain.low, gain.median, gain.high) if gain and isfinite(gain.low) else None,
        slices=slices,
    )


def refuse(reason: str, spec: ModelSpec, champion: str = "") -> GateResult:
    """A refusal before anything could be compared."""
    return GateResult(accepted=False, reasons=(reason,), metric=spec.gate.metric, rows=0, blocks=0, champion=champion, scores={}, gain=None, slices={})


def _unfit(later: pd.DataFrame, blocks: int, scores: dict[str, float], spec: ModelSpec) -> Iterator[str]:
    """Why these rows cannot judge."""
    if len(later) < spec.gate.min_rows:
        yield f"only {len(later):,} rows are later than the cut-off of both models, {spec.gate.min_rows:,} are needed (gate.min_rows)"
    if blocks < MIN_BLOCKS:
        hint = "; set gate.block to 'row' if its rows are independent" if spec.gate.block != "row" else ""
        yield f"the later rows are of {blocks} {spec.gate.block} blocks, and fewer than {MIN_BLOCKS} do not show how far results spread{hint}"
    if spec.task != "regression" and later["label"].nunique() < 2:
        yield "the later rows hold one class only"
    for name, value in scores.items():
        if not isfinite(value):
            yield f"{spec.gate.metric} of the {name} model on the later rows is not a number"


def _not_better(gain: Gain, against: str, spec: ModelSpec, effect: float | None = None) -> Iterator[str]:
    effect = spec.gate.min_effect if effect is None else effect
    if not isfinite(gain.low):
        yield f"the gain over the {against} model could not be computed in {gain.undefined} of {spec.gate.draws} draws"
    elif gain.low <= effect:
        found = f"the gain is at least {gain.low:+.4g} (median {gain.median:+.4g}), and must exceed {effect:.4g}"
        yield f"not surely better than the {against} model: {found}"


def _summary(scores: dict[str, float], gain: Gain, against: str, rows: int, blocks: int, spec: ModelSpec) -> str:
    return (
        f"{spec.gate.metric} {scores['challenger']:.4g} against {scores[against]:.4g} of the {against} model "
        f"on {rows:,} later rows ({blocks} {spec.gate.block} blocks); "
        f"with {spec.gate.confidence:.0%} confidence the gain is at least {gain.low:+.4g} (median {gain.median:+.4g})"
    )


def _slices(later: pd.DataFrame, measure: Measure, codes: Array, rivals: Rivals, spec: ModelSpec) -> dict[str, tuple[int, float, float]]:
    """Rows and the metric of both models on each slice with enough rows; NaN where the metric is not defined."""
    found = {}
    for column in spec.slices:
        names = _slice_names(later[column])
        for name, count in names.value_counts().sort_index().items():
            if count >= spec.gate.slice_min_rows:
                rows = (names == name).to_numpy()
                ours, theirs = (measure.value(codes[rows], scores[rows]) for scores in (rivals.challenger, rivals.incumbent))
                found[f"{column}={name}"] = (int(count), ours, theirs)
    return found


def _slice_names(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The slice of each row, in words; a number with many values is cut into quarters."""
    known = column.notna() & (column != "")
    if column.dtype != object and column.nunique() > MOST_VALUES:
        column = pd.qcut(column, 4, duplicates="drop")
    elif column.dtype != object and (column[known] % 1 == 0).all():
        column = column.where(known, 0).astype("int64")
    return column.astype(str).where(known, "missing")


def _worse_slices(slices: dict[str, tuple[int, float, float]], measure: Measure, spec: ModelSpec) -> Iterator[str]:
    losses = {name: measure.sign * (theirs - ours) for name, (_, ours, theirs) in slices.items()}
    worse = sorted((name for name, loss in losses.items() if loss > spec.gate.slice_tolerance), key=lambda name: -losses[name])
    for name in worse[:MOST_SLICES]:
        rows, ours, theirs = slices[name]
        yield f"worse on slice {name}: {ours:.4g} against {theirs:.4g} on {rows:,} rows, and at most {spec.gate.slice_tolerance:.4g} is tolerated"
    if len(worse) > MOST_SLICES:
        yield f"worse on {len(worse) - MOST_SLICES} more slices"
