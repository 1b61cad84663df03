"""Drift of one column at a time: the verdict of Evidently on a window.

A column is compared by itself, so columns need not have the same rows: features are compared with all reference rows, the
prediction with those of the hold-out only, because predictions on training rows are better than predictions can be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from bentos.runtime.contract import Contract
from tasks.monitoring.columns import Kind, Series, comparable, kinds, merged, sampled
from tasks.monitoring.evidently_report import Judgement, Pair, compare
from tasks.monitoring.thresholds import missing_limits
from tasks.spec import Monitoring

SCARCE = 0.01  # share of values below which a column has none worth comparing
NEVER = "hardly ever has values"


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
            sides = merged(sampled(left[name].dropna(), monitoring.sample, seed), sampled(right[name], monitoring.sample, seed), kind)
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
