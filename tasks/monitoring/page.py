"""The drift page of a model in the Prefect UI, and the few words on its card."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.ledger.rows import Finding, WindowRow
from tasks.monitoring import charts
from tasks.monitoring.charts import Bar, Point
from tasks.monitoring.drift import Column, Drift
from tasks.monitoring.performance import HIGHER_IS_BETTER
from tasks.spec import ModelSpec

SIGNS = {"stable": "🟢", "drift": "🟠", "decay": "🔴", "broken": "🔴", "insufficient": "⚪"}
TREND = 24  # windows drawn
PICTURES = 6  # drifted columns whose distributions are drawn
FINDINGS = 20  # rows of the table
REASON = 600  # characters


@dataclass(frozen=True)
class Evidence:
    """What a page shows beside its row: the findings per column, where Evidently's own report is, and how many lines of the logs were lost."""

    drift: Drift | None = None
    report_url: str = ""
    unreadable: int = 0
    unknown: int = 0


def markdown(row: WindowRow, judged: Sequence[WindowRow], spec: ModelSpec, evidence: Evidence) -> str:
    """The page on a window: verdict, findings, columns against their thresholds, distributions of what drifted, performance, trend.

    Args:
        judged: The model's windows judged before, in any order; a later row on the same window replaces the earlier.
    """
    windows = _newest(row, judged)
    parts = [
        f"# {SIGNS[row.verdict]} {row.model} {row.window}: {row.verdict}",
        f"{escaped(row.reason, REASON)}.",
        f"{row.rows:,} rows of {row.start:%Y-%m-%d} to {row.end:%Y-%m-%d} (excluded), answered by `{row.version}`; {row.labelled:,} have a label.",
        *_lost(evidence),
        *_findings(row.findings),
        *_columns(evidence),
        *(_performance(row, windows, spec) if "value" in row.performance else ()),
        *_trend(windows, spec),
    ]
    return "\n\n".join(part for part in parts if part)


def description(row: WindowRow, judged: Sequence[WindowRow], spec: ModelSpec) -> str:
    """Verdict, reason and a sparkline: of performance when that decided, else of the share of drifted columns."""
    windows = _newest(row, judged)
    points, limit = (_measured(windows), _limit(row, spec)) if row.verdict == "decay" else (_shares(windows, spec), spec.monitoring.drift_share)
    picture = f"\n\n![trend]({charts.sparkline(points, limit)})" if points else ""
    return f"{SIGNS[row.verdict]} **{row.window}: {row.verdict}** {escaped(row.reason, REASON)}{picture}"


def escaped(text: str, length: int = 200) -> str:
    """Foreign text as one line of plain words inside markdown."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= length else flat[: length - 1] + "…"
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#!|~&" else c for c in flat)


def _columns(evidence: Evidence) -> list[str]:
    drift = evidence.drift
    if drift is None:
        return []
    bars = [Bar(column.name, column.ratio, _numbers(column), column.status in {"drifted", "unusable"}) for column in drift.columns if column.status != "empty"]
    picture = f"![score of each column against its threshold]({charts.ratios(bars, 'Drift score of each column, in units of its threshold')})" if bars else ""
    link = f"[Evidently's own report of this window]({evidence.report_url})" if evidence.report_url else ""
    table = "\n".join(["| column | score | threshold | ratio | missing | verdict |", "|---|---:|---:|---:|---:|---|", *map(_line, drift.columns)])
    drawn = [(column.name, drift.sides[column.name]) for column in drift.having("drifted")[:PICTURES]]
    pictures = " ".join(f"![{escaped(name)}]({charts.distribution(name, *sides)})" for name, sides in drawn)
    return ["## Columns", picture, link, table, "### What drifted" if pictures else "", pictures]


def _line(column: Column) -> str:
    score, threshold, ratio = (f"{value:.3f}" if math.isfinite(value) else "" for value in (column.score, column.threshold, column.ratio))
    verdict = f"**{column.status}**" if column.status in {"drifted", "unusable"} else column.status
    note = f": {escaped(column.note)}" if column.note else ""
    return f"| {escaped(column.name)} | {score} | {threshold} | {ratio} | {column.missing:.1%} | {verdict}{note} |"


def _numbers(column: Column) -> str:
    return f"{column.score:.3f} of {column.threshold:.3f}" if math.isfinite(column.score) else "not comparable"


def _performance(row: WindowRow, windows: Sequence[WindowRow], spec: ModelSpec) -> list[str]:
    found, metric = row.performance, spec.gate.metric
    bounds = f"{found['low']:.4g} to {found['high']:.4g}, at {spec.gate.confidence:.0%} each"
    line = f"{metric} **{found['value']:.4g}** ({bounds}) on {row.labelled:,} labelled rows; {found['reference']:.4g} on the hold-out."
    picture = charts.line(_measured(windows), _limit(row, spec), f"{metric} of each window, with its bounds", "surely beyond this is decay:")
    return ["## Performance", line, f"![{metric} of each window]({picture})"]


def _trend(windows: Sequence[WindowRow], spec: ModelSpec) -> list[str]:
    shares = _shares(windows, spec)
    if not shares:
        return []
    picture = charts.line(shares, spec.monitoring.drift_share, "Share of columns that drift", "a window drifts from", ".0%")
    return ["## Windows so far", f"![share of drifted columns of each window]({picture})"]


def _shares(windows: Sequence[WindowRow], spec: ModelSpec) -> list[Point]:
    return [Point(row.window, row.share, row.share >= spec.monitoring.drift_share) for row in windows if row.share is not None]


def _measured(windows: Sequence[WindowRow]) -> list[Point]:
    having = [row for row in windows if "value" in row.performance]
    return [Point(row.window, row.performance["value"], row.verdict == "decay", row.performance["low"], row.performance["high"]) for row in having]


def _limit(row: WindowRow, spec: ModelSpec) -> float:
    return row.performance["reference"] + (-1 if spec.gate.metric in HIGHER_IS_BETTER else 1) * spec.monitoring.decay


def _newest(row: WindowRow, judged: Sequence[WindowRow]) -> list[WindowRow]:
    newest = {each.window: each for each in (*judged, row)}
    return sorted(newest.values(), key=lambda each: each.start)[-TREND:]


def _findings(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    lines = [f"| {f.severity} | {escaped(f.column)} | {escaped(f.expectation)} | {escaped(f.observed)} | {escaped(f.expected)} |" for f in findings[:FINDINGS]]
    table = "\n".join(["| severity | column | expectation | found | expected |", "|---|---|---|---|---|", *lines])
    return ["## What did not hold", table, f"… and {len(findings) - FINDINGS} more." if len(findings) > FINDINGS else ""]


def _lost(evidence: Evidence) -> list[str]:
    lost = [f"{evidence.unreadable:,} lines could not be read"] if evidence.unreadable else []
    lost += [f"{evidence.unknown:,} labels name no row"] if evidence.unknown else []
    return [f"In all logs of the model, {' and '.join(lost)}."] if lost else []
