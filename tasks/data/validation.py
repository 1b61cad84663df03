"""Is a batch what its suite says? The verdict, in which nothing that fails to run can pass."""

import logging
import re
import time
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.data.findings import expected_text, observed_text, phrase, shown
from tasks.data.suite import Expectation, Suite, quiet
from tasks.data.suite import load_served_suite as load_served_suite
from tasks.data.suite import load_suite as load_suite  # whoever validates loads a suite first
from tasks.ledger.rows import Finding

# Of these the verdict on a category column is the one on its strings, at half the time.
CATEGORY_SAFE = frozenset(
    {
        "expect_column_to_exist",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_not_match_regex",
        "expect_compound_columns_to_be_unique",
    }
)
ORDER = {"error": 0, "critical": 1, "warning": 2}


class Validation(BaseModel):
    """What became of a batch held against a suite."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...]
    checked: int
    seconds: float

    @property
    def blocked(self) -> bool:
        """True when a critical expectation did not hold, or any expectation could not be evaluated."""
        return any(finding.severity != "warning" for finding in self.findings)

    @property
    def verdict_sentence(self) -> str:
        """One bounded sentence for a person."""
        if not self.findings:
            return f"all {self.checked} expectations hold"
        told = [finding for finding in self.findings if finding.severity != "warning"] or self.findings
        more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
        kind = "block" if self.blocked else "warn"
        return f"{len(told)} of {self.checked} expectations {kind}: " + "; ".join(phrase(finding) for finding in told[:3]) + more


def validate(frame: pd.DataFrame, suite: Suite, private: Collection[str] = ()) -> Validation:
    """Hold a frame against a suite. Columns the suite does not name may be there; whatever goes wrong is a finding.

    Args:
        private: Columns whose values no finding shows.
    """
    began = time.perf_counter()
    absent = {c: None for e in suite.expectations for c in e.columns if c not in frame.columns}
    findings = [_absence(column, frame, suite) for column in absent]
    checks = [e for e in suite.expectations if not absent.keys() & set(e.columns)]
    if frame.columns.has_duplicates:  # Great Expectations would look at one of them, or pass
        twice = ", ".join(map(str, frame.columns[frame.columns.duplicated()].unique()[:5]))
        findings.append(Finding(expectation="one column a name", severity="error", observed=f"more than one of: {twice}"))
    elif checks:
        findings += _failures(_slim(frame, checks), checks, frozenset(private))
    ordered = sorted(findings, key=lambda finding: ORDER[finding.severity])
    return Validation(findings=tuple(ordered), checked=len(suite.expectations), seconds=time.perf_counter() - began)


def _absence(column: str, frame: pd.DataFrame, suite: Suite) -> Finding:
    """One finding for a column that is not there, in place of one for each expectation about it."""
    declared = any(e.type == "expect_column_to_exist" and e.severity == "critical" and column in e.columns for e in suite.expectations)
    near = get_close_matches(column, [str(c) for c in frame.columns if c not in {n for e in suite.expectations for n in e.columns}], n=1)
    observed = "no such column" + (f", but one called {near[0]!r}" if near else "")
    return Finding(
        expectation="expect_column_to_exist", column=column, severity="critical" if declared else "error", observed=observed, expected="a column of this name"
    )


def _slim(frame: pd.DataFrame, checks: Sequence[Expectation]) -> pd.DataFrame:
    """The columns the checks name, strings as categories where that changes no verdict: half the time and memory."""
    if any(e.type.startswith("expect_table_column") for e in checks):
        return frame
    named = {name for e in checks for name in _mentions(e, frame.columns)}
    unsafe = {name for e in checks for name in _mentions(e, named) if e.type not in CATEGORY_SAFE or e.kwargs.get("row_condition")}
    slim = frame[[c for c in frame.columns if c in named]]
    strings = [c for c in slim if c not in unsafe and slim[c].dtype == object and pd.api.types.infer_dtype(slim[c], skipna=True) == "string"]
    return slim.astype(dict.fromkeys(strings, "category"))


def _mentions(check: Expectation, columns: Collection[str]) -> list[str]:
    """Columns that occur anywhere in a check's arguments. One too many costs time only."""
    words = set(_texts(check.kwargs))
    condition = check.kwargs.get("row_condition")
    return [c for c in columns if c in words or (isinstance(condition, str) and str(c) in condition)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _failures(frame: pd.DataFrame, checks: Sequence[Expectation], private: frozenset[str]) -> list[Finding]:
    """Findings of the checks that did not hold: all of them for a yes or no, and those that fail again for the numbers."""
    try:
        with quiet():
            failed = [e for e, passed, _ in _run(frame, checks, "BOOLEAN_ONLY") if not passed]
            return [_finding(e, result, frame, private) for e, _, result in _run(frame, failed, "SUMMARY")] if failed else []
    except Exception as err:  # noqa: BLE001  # a suite that cannot be run blocks, whatever the library raised
        return [Finding(expectation="the suite as a whole", severity="error", observed=f"{type(err).__name__}: {shown(err, 200)}", expected="a verdict")]


def _run(frame: pd.DataFrame, checks: Sequence[Expectation], detail: Literal["BOOLEAN_ONLY", "SUMMARY"]) -> list[tuple[Expectation, bool, Any]]:
    """Evaluate checks in a context that lives only in memory."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # it logs a traceback for each failed metric; findings tell them
    stores, bars = InMemoryStoreBackendDefaults(init_temp_docs_sites=False), ProgressBarsConfig(globally=False)
    config = DataContextConfig(store_backend_defaults=stores, progress_bars=bars, analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=config)
    entries = [{"type": e.type, "kwargs": e.kwargs, "severity": e.severity, "meta": {"position": n}} for n, e in enumerate(checks)]
    suite = gx.ExpectationSuite(name="suite", expectations=entries)
    definition = context.data_sources.add_pandas("frames").add_dataframe_asset("batch").add_batch_definition_whole_dataframe("whole")
    results = definition.get_batch({"dataframe": frame}).validate(suite, result_format=detail).results
    told = {result.expectation_config.meta["position"]: result for result in results if result.expectation_config}  # in an order of its own
    return [(check, bool(told[n].success), told[n]) for n, check in enumerate(checks)]


def _finding(check: Expectation, result: Any, frame: pd.DataFrame, private: frozenset[str]) -> Finding:
    """What is worth telling of a result that is no success."""
    hidden = bool(private & set(_mentions(check, frame.columns)))
    error = not result.result  # the metric never ran
    severity: Literal["error", "critical", "warning"] = "error" if error else check.severity
    if error:
        message = next((info["exception_message"] for info in result.exception_info.values() if isinstance(info, dict)), "it could not be evaluated")
        # A mean over text puts the whole column into its message.
        observed = "could not be evaluated" if hidden else shown(re.sub(r"'[^']{40}[^']*'?", "'…'", message), 200)
    else:
        observed = "a value that is not shown" if hidden and "observed_value" in result.result else observed_text(check.type, result.result)
    values = [] if hidden or "null" in check.type.split("_") else list(result.result.get("partial_unexpected_list") or [])
    examples = tuple(dict.fromkeys(shown(value, 60) for value in values))[:5]
    return Finding(
        expectation=check.type, column=", ".join(check.columns), severity=severity, observed=observed, expected=expected_text(check.kwargs), examples=examples
    )
