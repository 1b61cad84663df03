"""Drift of one column at a time: scores, thresholds calibrated on the reference, and the verdict of Evidently on a window.

A column is compared by itself, so columns need not have the same rows: features are compared with all reference rows, the
prediction with those of the hold-out only, because predictions on training rows are better than predictions can be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract
from tasks.monitoring.evidently_report import Judgement, Pair, compare
from tasks.spec import Monitoring

Series = pd.Series  # of numbers or of str, by the kind of the column
Kind = Literal["number", "category"]
PREDICTION = "prediction"
TOP = 20  # categories that count by themselves: the long tail of a hundred destinations "drifts" every time
OTHER = "other"
SCARCE = 0.01  # share of values below which a column has none worth comparing
NEVER = "hardly ever has values"
MISSING_FLOOR = 0.05  # share of nulls that is never called drift
BLOCKS = 52  # a year of weeks: more blocks do not move a 95 % quantile, and each costs a sort


@dataclass(frozen=True)
class Column:
    """What was found of one column. `unusable`: it could not be compared, which is never the same as no drift. `empty`: it hardly ever had values."""

    name: str
    kind: Kind
    status: Literal["stable", "drifted", "unusable", "empty"]
    score: float = math.nan
    threshold: float = math.nan
    missing: float = 0.0
    missing_limit: float = 1.0
    note: str = ""

    @property
    def ratio(self) -> float:
        """Score in units of the threshold, infinite for what could not be compared; the sort key of every table."""
        if self.status in {"unusable", "empty"}:
            return math.inf if self.status == "unusable" else -math.inf
        return self.score / self.threshold if self.threshold > 0 else math.inf


@dataclass(frozen=True)
class Drift:
    """Columns by falling ratio, both sides of those compared, and Evidently's report as HTML and its numbers as JSON (empty when there is none)."""

    columns: tuple[Column, ...]
    sides: Mapping[str, tuple[Series, Series]] = field(default_factory=dict)
    html: bytes = b""
    json: str = ""

    def having(self, status: str) -> tuple[Column, ...]:
        """Columns with a status."""
        return tuple(column for column in self.columns if column.status == status)

    @property
    def share(self) -> float | None:
        """Drifted columns among those that could be compared."""
        compared = len(self.having("drifted")) + len(self.having("stable"))
        return len(self.having("drifted")) / compared if compared else None


def kinds(contract: Contract) -> dict[str, Kind]:
    """How each column is compared, the prediction last. Features that the log does not hold as they were sent cannot be."""
    found: dict[str, Kind] = {name: "category" if feature.type == "category" else "number" for name, feature in contract.logged.items()}
    return found | {PREDICTION: "category" if contract.task == "multiclass" else "number"}


def comparable(rows: pd.DataFrame, contract: Contract) -> dict[str, Series]:
    """The columns that are compared, typed as `Contract.frame` does. Absent columns are null, and so are infinities and what is no number.

    A category that is null now and then is the category '', as the model sees it; one that is always null stays null.
    Where rows are marked `holdout`, the prediction is that of the marked ones.
    """
    held = rows[rows["holdout"].astype(bool)] if "holdout" in rows and rows["holdout"].any() else rows
    return {name: _typed(held if name == PREDICTION else rows, name, kind) for name, kind in kinds(contract).items()}


def scores(reference: pd.DataFrame, current: pd.DataFrame, contract: Contract) -> dict[str, float]:
    """Distance of each column with values on both sides: Wasserstein in standard deviations of the reference, for categories Jensen-Shannon.

    Equal to what Evidently's ValueDrift computes from the same rows with long tails of categories merged.
    """
    left, right = comparable(reference, contract), comparable(current, contract)
    pairs = {name: (*merged(left[name].dropna(), right[name].dropna(), kind), kind) for name, kind in kinds(contract).items()}
    return {name: _distance(had, has, kind) for name, (had, has, kind) in pairs.items() if len(had) and len(has)}


def merged(reference: Series, current: Series, kind: Kind) -> tuple[Series, Series]:
    """Both sides with all but the reference's most frequent categories called 'other'."""
    if kind == "number":
        return reference, current
    kept = set(reference.value_counts().index[:TOP])
    return reference.where(reference.isin(kept) | reference.isna(), OTHER), current.where(current.isin(kept) | current.isna(), OTHER)


def calibrate(reference: pd.DataFrame, contract: Contract, monitoring: Monitoring, seed: int = 0) -> dict[str, float]:
    """Drift threshold per column: factor times the quantile of a block's distance from the rest of the reference, and never below the floor.

    Blocks, because neighbouring rows are alike: thresholds for independent rows would call every week of weather drifted.
    A column without values gets none. The hold-out alone is too short to say how much predictions vary, so all rows do.

    Args:
        reference: Feature columns, `prediction` and `event_time`.
    """
    columns, thresholds = comparable(reference.drop(columns="holdout", errors="ignore"), contract), {}
    for name, kind in kinds(contract).items():
        column = columns[name].dropna()
        if len(column):
            distances = _leave_one_out(merged(column, column, kind)[0], reference.loc[column.index, "event_time"], kind, monitoring, seed)
            spread = float(np.quantile(distances, monitoring.threshold_quantile)) if distances else 0.0
            thresholds[name] = max(monitoring.threshold_floor, monitoring.threshold_factor * spread)
    return thresholds


def blocks(times: Series, window: str) -> Series:
    """Block of each row: weeks when the reference spans four and windows are no days, days when it spans eight, else ten equal consecutive parts."""
    days = (times.max() - times.min()) / pd.Timedelta(days=1)
    if days >= 28 and window != "day":
        weeks: Series = (times - pd.Timestamp("1970-01-05")) // pd.Timedelta(days=7)  # that was a Monday
        return weeks
    if days >= 8:
        return pd.Series(times.dt.floor("D"))
    return (times.rank(method="first") * 10 / (len(times) + 1)).astype(int)


def missing_limits(reference: pd.DataFrame, contract: Contract, monitoring: Monitoring) -> dict[str, float]:
    """Share of nulls above which a numeric feature drifts: like the thresholds, from the blocks of the reference. A missing category is a category."""
    numbers = {name: column.isna() for name, column in comparable(reference, contract).items() if kinds(contract)[name] == "number" and name != PREDICTION}
    shares = pd.DataFrame(numbers).groupby(blocks(reference["event_time"], monitoring.window)).mean()
    usual = shares.quantile(monitoring.threshold_quantile) * monitoring.threshold_factor
    return {name: min(1.0, max(MISSING_FLOOR, float(usual[name]))) for name in numbers}


def report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    thresholds: Mapping[str, float],
    contract: Contract,
    monitoring: Monitoring,
    title: str = "the window",
    seed: int = 0,
) -> Drift:
    """Compare a window with the reference: Evidently's verdict per column, its HTML and its numbers, on at most `monitoring.sample` rows a side.

    Each column has a limit on its score and, if it is a numeric feature, one on its share of nulls.

    Raises:
        PlatformError: Evidently failed.
    """
    limits, left, right = missing_limits(reference, contract, monitoring), comparable(reference, contract), comparable(current, contract)
    columns, pairs = [], []
    for name, kind in kinds(contract).items():
        note = _unfit(left[name], right[name], name in thresholds)
        if note:
            columns.append(Column(name, kind, "empty" if note == NEVER else "unusable", missing=_missing(right[name]), note=note))
        else:
            sides = merged(_sampled(left[name].dropna(), monitoring.sample, seed), _sampled(right[name], monitoring.sample, seed), kind)
            pairs.append(Pair(name, kind, *sides, thresholds[name], limits.get(name)))
    if not pairs:
        return Drift(tuple(columns))
    evidence = compare(pairs, title)
    columns += [finding(pair, evidence.columns.get(pair.name, Judgement())) for pair in pairs]
    columns.sort(key=lambda column: (-column.ratio, column.name))
    return Drift(tuple(columns), {pair.name: (pair.reference, pair.current) for pair in pairs}, evidence.html, evidence.json)


def finding(pair: Pair, found: Judgement) -> Column:
    """What the statuses of a column's tests say of it: anything but passed and failed makes it unusable."""
    missing, limit = _missing(pair.current), 1.0 if pair.missing_limit is None else pair.missing_limit
    tests = {found.drift} if pair.missing_limit is None else {found.drift, found.missing}
    if math.isnan(found.score) or not tests <= {"SUCCESS", "FAIL"}:
        return Column(pair.name, pair.kind, "unusable", missing=missing, note="was not judged by Evidently")
    note = f"{missing:.1%} missing, limit {limit:.1%}" if found.missing == "FAIL" else ""
    return Column(pair.name, pair.kind, "drifted" if "FAIL" in tests else "stable", found.score, pair.threshold, missing, limit, note)


def _typed(rows: pd.DataFrame, name: str, kind: Kind) -> Series:
    column = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
    if kind == "number":
        numbers: Series = pd.to_numeric(column, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)
        return numbers
    text: Any = column.map(str, na_action="ignore").astype(object)
    missing: Any = None if name == PREDICTION or column.isna().all() else ""
    filled: Series = text.where(column.notna(), missing)
    return filled


def _distance(reference: Series, current: Series, kind: Kind) -> float:
    if kind == "number":
        from scipy.stats import wasserstein_distance

        scale = max(float(np.std(reference)), 0.001)  # as Evidently does, so that a constant column divides by something
        return float(wasserstein_distance(reference, current)) / scale
    from scipy.spatial.distance import jensenshannon

    shares = pd.concat([reference.value_counts(normalize=True), current.value_counts(normalize=True)], axis=1).fillna(0.0)
    return float(jensenshannon(shares.iloc[:, 0], shares.iloc[:, 1]))


def _leave_one_out(column: Series, times: Series, kind: Kind, monitoring: Monitoring, seed: int) -> list[float]:
    """Distance of each block from the other blocks; nothing when there is only one."""
    labels = blocks(times, monitoring.window)
    sizes: Series = labels.value_counts(sort=False)
    chosen = sizes.index[sizes >= 0.8 * sizes.median()]  # a stub of a week lacks some weekdays
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, BLOCKS).round().astype(int))]
    sides = [(column[labels != block], column[labels == block]) for block in chosen if len(sizes) > 1]
    return [_distance(_sampled(rest, monitoring.sample, seed), _sampled(block, monitoring.sample, seed), kind) for rest, block in sides]


def _unfit(reference: Series, current: Series, calibrated: bool) -> str:
    """Why a column cannot be handed to Evidently, which would give up the whole report over it; empty when it can."""
    had, has = (1.0 - _missing(side) >= SCARCE for side in (reference, current))
    if not had and not has:
        return NEVER
    if not (had and has):
        return f"has no values in the {'window' if had else 'reference'}"
    return "" if calibrated else "has no threshold: it was not calibrated"


def _missing(column: Series) -> float:
    return float(column.isna().mean()) if len(column) else 1.0


def _sampled(column: Series, rows: int, seed: int) -> Series:
    return column if len(column) <= rows else column.sample(rows, random_state=seed)
