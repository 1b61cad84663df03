"""Findings in words and as a markdown table. Bounded text in, bounded text out; whole rows never get here."""

from collections.abc import Sequence
from typing import Any

from tasks.ledger.rows import BatchRow, Finding

ROWS = 40  # findings a table shows
SIGNS = {"error": "❌ error", "critical": "❌ critical", "warning": "⚠️ warning"}
COLUMN_KEYS = ("column", "column_A", "column_B", "column_list", "batch_id")


def shown(value: Any, length: int) -> str:
    """A value as text of at most `length` characters on one line."""
    text = f"{value:,.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def observed_text(expectation: str, result: dict[str, Any]) -> str:
    """What Great Expectations saw, in words."""
    count, total = result.get("unexpected_count"), result.get("element_count")
    if isinstance(count, int) and isinstance(total, int) and total:
        what = "null" if expectation == "expect_column_values_to_not_be_null" else "unexpected"
        return f"{result.get('unexpected_percent') or 0.0:.3g} % {what} ({count:,} of {total:,})"
    if "observed_value" in result:
        value = result["observed_value"]
        if isinstance(value, dict) and "values" in value:
            value = value["values"]
        return "no value" if value is None else shown(value, 160)
    return "did not hold"


def expected_text(kwargs: dict[str, Any]) -> str:
    """What an expectation asks for, from its arguments."""
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    parts = []
    if low is not None and high is not None:
        parts.append(f"{shown(low, 30)} to {shown(high, 30)}")
    elif low is not None or high is not None:
        parts.append(f"at least {shown(low, 30)}" if high is None else f"at most {shown(high, 30)}")
    rest = {k: v for k, v in kwargs.items() if k not in (*COLUMN_KEYS, "min_value", "max_value", "mostly") and v not in (None, False)}
    parts += [f"{key.rstrip('_').replace('_', ' ')} {shown(_listed(value), 100)}" for key, value in rest.items()]
    if kwargs.get("mostly", 1) != 1:
        parts.append(f"for at least {100 * kwargs['mostly']:g} %")
    return ", ".join(parts) or "always"


def phrase(finding: Finding) -> str:
    """A finding in one clause."""
    kind = finding.expectation.removeprefix("expect_").removeprefix("column_").replace("_", " ")
    return f"{finding.column} {kind}".strip() + f": {shown(finding.observed, 120)}" + (f", expected {shown(finding.expected, 80)}" if finding.expected else "")


def findings_table(findings: Sequence[Finding]) -> str:
    """A markdown table, the worst first as they come."""
    if not findings:
        return "Every expectation holds."
    head = "| severity | column | expectation | observed | expected | examples |\n|---|---|---|---|---|---|\n"
    lines = [
        "| " + " | ".join([SIGNS[f.severity], _cell(f.column), _cell(f.expectation), _cell(f.observed), _cell(f.expected), _cell(", ".join(f.examples))]) + " |"
        for f in findings[:ROWS]
    ]
    return head + "\n".join(lines) + (f"\n\n… and {len(findings) - ROWS} more." if len(findings) > ROWS else "")


def findings_markdown(taken: Sequence[BatchRow]) -> str:
    """The page of an ingest run: each batch with its verdict and findings."""
    return "\n\n".join(_batch(row) for row in taken) or "No batch was taken."


def _batch(row: BatchRow) -> str:
    span = f", {row.start:%Y-%m-%d %H:%M} to {row.end:%Y-%m-%d %H:%M} UTC" if row.start and row.end else ""
    body = findings_table(row.findings) if row.ref else ""
    reason = f"{_cell(row.reason)}\n\n" if row.reason else ""
    return f"## {row.dataset} {row.batch}: {row.verdict}\n\n{row.rows:,} rows{span}\n\n{reason}{body}".rstrip()


def _cell(text: str) -> str:
    """Text that neither ends a table's cell nor becomes markup."""
    flat = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|<>*_`[]":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def _listed(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
