"""The verdict on a closed window, and what it proposes. Pure: findings in, rows of the ledger out."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.ledger.rows import Finding, ProposalRow, WindowRow
from tasks.monitoring.drift import Column, Drift
from tasks.monitoring.performance import Performance
from tasks.monitoring.window import Window
from tasks.spec import ModelSpec

Kind = Literal["decay", "drift"]
KINDS: tuple[Kind, ...] = ("decay", "drift")  # decay decides, so it is named first
MISSING = "missing:"  # prefix of a column's share of nulls in `WindowRow.drift`


@dataclass(frozen=True)
class Facts:
    """All that is known of a window. `drift` is None when the rows were too few or broken, `performance` when labels are still awaited."""

    window: Window
    version: str
    rows: int
    labelled: int
    clock: datetime | None
    others: int = 0
    blocked: bool = False
    findings: tuple[Finding, ...] = ()
    drift: Drift | None = None
    performance: Performance | None = None


def judge_window(facts: Facts, spec: ModelSpec, report: str = "") -> WindowRow:
    """The ledger's row on a window: insufficient, broken, decay, drift or stable, looked for in this order, with a reason in one sentence.

    A column that could not be compared makes the window broken: that is never the same as no drift. So does performance that is no finite number.
    `event_time` is the data's clock.
    """
    verdict, reason = _verdict(facts, spec)
    if facts.others:
        reason += f"; {facts.others:,} rows that other versions answered are left out"
    drift, performance = facts.drift, facts.performance
    return WindowRow(
        event_time=facts.clock,
        model=spec.name,
        version=facts.version,
        window=facts.window.name,
        start=facts.window.start,
        end=facts.window.end,
        rows=facts.rows,
        labelled=facts.labelled,
        verdict=verdict,
        reason=reason,
        drift=_scores(drift) if drift else {},
        share=drift.share if drift else None,
        performance=performance.facts() if performance else {},
        findings=facts.findings + tuple(_finding(column) for column in (drift.having("unusable") if drift else ())),
        report=report,
    )


def proposal(row: WindowRow, judged: Iterable[WindowRow], spec: ModelSpec, live: str, proposed: Collection[tuple[str, str]] = ()) -> ProposalRow | None:
    """What a judged window proposes: to retrain on decay or drift, when the spec wants that and k of the newest n windows had it.

    Only windows of the same version that could be judged count. A window of a version that is no longer live proposes nothing, nor does one again.

    Args:
        judged: Windows judged before, in any order; a later row on the same window replaces the earlier.
        live: Version that is live now.
        proposed: (trigger, window) of earlier proposals.
    """
    newest = {
        each.window: each for each in (*judged, row) if each.version == live and each.verdict not in {"insufficient", "broken"} and each.start <= row.start
    }
    last = sorted(newest.values(), key=lambda each: each.start)[-spec.triggers.n :]
    for kind in KINDS:
        having = [each.window for each in last if kind in kinds_of(each, spec)]
        if getattr(spec.triggers, kind) == "retrain" and row.window in having and len(having) >= spec.triggers.k and (kind, row.window) not in proposed:
            counted = f" ({len(having)} of the last {len(last)} windows: {', '.join(having)})" if spec.triggers.n > 1 else ""
            return ProposalRow(
                event_time=row.event_time, model=row.model, trigger=kind, window=row.window, reason=f"{kind} in window {row.window}{counted}: {row.reason}"
            )
    return None


def alert(row: WindowRow, spec: ModelSpec) -> str:
    """What a person should look at, in one sentence; empty when nothing, or when the machine sees to it."""
    if row.verdict == "broken":
        return f"Window {row.window} of {row.model} is broken and proposes nothing: {row.reason}."
    if row.verdict in KINDS and getattr(spec.triggers, row.verdict) == "alert":
        return f"{row.verdict.capitalize()} in window {row.window} of {row.model}: {row.reason}."
    return ""


def kinds_of(row: WindowRow, spec: ModelSpec) -> set[Kind]:
    """What was found in a window; decay hides drift in the verdict, not here."""
    found: set[Kind] = {"decay"} if row.verdict == "decay" else set()
    if row.verdict in {"decay", "drift"} and row.share is not None and row.share >= spec.monitoring.drift_share:
        found.add("drift")
    return found


def _verdict(facts: Facts, spec: ModelSpec) -> tuple[Literal["insufficient", "broken", "stable", "drift", "decay"], str]:
    drift, performance, monitoring = facts.drift, facts.performance, spec.monitoring
    if facts.rows < monitoring.min_rows:
        return "insufficient", f"{facts.rows:,} rows, and at least {monitoring.min_rows:,} are needed"
    if facts.blocked:
        return "broken", _broken(facts.findings)
    if drift is None or drift.share is None or drift.having("unusable"):
        return "broken", _unusable(drift.having("unusable") if drift else ())
    if performance and performance.unusable:
        return "broken", performance.reason
    if performance and performance.decayed(monitoring.decay):
        return (
            "decay",
            f"surely worse than on the hold-out by more than {monitoring.decay:g}: {_performance(performance)}; {_drift(drift, monitoring.drift_share)}",
        )
    verdict: Literal["drift", "stable"] = "drift" if drift.share >= monitoring.drift_share else "stable"
    return verdict, f"{_drift(drift, monitoring.drift_share)}; {_performance(performance)}"


def _drift(drift: Drift, limit: float) -> str:
    drifted, compared = drift.having("drifted"), len(drift.having("drifted")) + len(drift.having("stable"))
    worst = next(iter(drifted), None)
    most = (
        f", most of all {worst.name} at {worst.ratio:.1f} times its threshold"
        if worst and worst.ratio >= 1
        else f", first of all {worst.name} ({worst.note})"
        if worst
        else ""
    )
    return f"{len(drifted)} of {compared} columns drift (a window drifts from {limit:.0%} on){most}"


def _performance(performance: Performance | None) -> str:
    if performance is None:
        return "performance is not judged yet: labels are awaited"
    if performance.value is None:
        return f"performance is not judged: {performance.reason}"
    found = f"{performance.metric} {performance.value:.4g} ({performance.low:.4g} to {performance.high:.4g})"
    return f"{found} on {performance.labelled:,} labelled rows against {performance.reference:.4g} on the hold-out"


def _broken(findings: Sequence[Finding]) -> str:
    blocking = [finding for finding in findings if finding.severity != "warning"]
    if not blocking:
        return "the suite of served rows does not hold"
    first = blocking[0]
    named = f"{first.expectation} of {first.column}" if first.column else first.expectation
    many = f"{len(blocking)} expectations on served rows do not hold, the first is" if len(blocking) > 1 else "an expectation on served rows does not hold:"
    return f"{many} {named}: found {first.observed or 'nothing'}" + (f", expected {first.expected}" if first.expected else "")


def _unusable(columns: Sequence[Column]) -> str:
    if not columns:
        return "no column could be compared with the reference"
    return "; ".join(f"{column.name} {column.note}" for column in columns[:3]) + (f" (and {len(columns) - 3} more columns)" if len(columns) > 3 else "")


def _scores(drift: Drift) -> dict[str, tuple[float, float]]:
    """Column: (score, threshold), and `missing:column` where the share of nulls is over its limit."""
    compared = (*drift.having("drifted"), *drift.having("stable"))
    found = {column.name: (column.score, column.threshold) for column in compared}
    return found | {f"{MISSING}{column.name}": (column.missing, column.missing_limit) for column in compared if column.missing > column.missing_limit}


def _finding(column: Column) -> Finding:
    return Finding(
        expectation="column_can_be_compared", column=column.name, severity="error", observed=column.note, expected="values in the window and in the reference"
    )
