"""What a suite file must be, beyond what Great Expectations asks: it drops what it does not know and lets an empty batch pass."""

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

SUITE_KEYS = ("name", "expectations", "meta", "notes", "id")
ENTRY_KEYS = ("type", "kwargs", "severity", "meta", "notes", "id")
SEVERITIES = ("critical", "warning")
ROW_COUNTS = {"expect_table_row_count_to_be_between": "min_value", "expect_table_row_count_to_equal": "value"}
NULL_CHECKS = ("expect_column_values_to_not_be_null", "expect_column_proportion_of_non_null_values_to_be_between")
NEED_NO_NULL_CHECK = (*NULL_CHECKS, "expect_column_to_exist", "expect_column_values_to_be_null")
SQL_ONLY = ("unexpected_rows_expectation", "expect_query_results_to_match_comparison", "expect_table_row_count_to_equal_other_table")
NO_BOUND = re.compile(r"^\d{4}-\d{2}-\d{2}$|Z$|[+-]\d{2}:\d{2}$")  # fail on a naive datetime column in Great Expectations 1.24


class Problem(NamedTuple):
    """A sentence about the suite (`entry` None) or about its n-th expectation."""

    entry: int | None
    text: str


def columns_of(kwargs: dict[str, Any]) -> list[str]:
    """Columns that an expectation is about; those of its `row_condition` are not among them."""
    listed = kwargs.get("column_list")
    names = [kwargs.get("column"), kwargs.get("column_A"), kwargs.get("column_B"), *(listed if isinstance(listed, list) else [])]
    return [name for name in names if isinstance(name, str)]


def is_entry(entry: Any) -> bool:
    """True for what has the shape of an expectation."""
    return isinstance(entry, dict) and isinstance(entry.get("type"), str) and isinstance(entry.get("kwargs"), dict)


def lint(content: Any) -> list[Problem]:
    """Every problem of a parsed suite file that can be seen without Great Expectations."""
    if not isinstance(content, dict):
        return [Problem(None, "is no JSON object")]
    problems = [Problem(None, _unknown(key, SUITE_KEYS)) for key in content if key not in SUITE_KEYS]
    name, entries = content.get("name"), content.get("expectations")
    if not isinstance(name, str) or not name or "." in name:
        problems.append(Problem(None, "needs a `name` without dots"))
    if not isinstance(entries, list) or not entries:
        return [*problems, Problem(None, "holds no expectations, so it would accept everything")]
    for n, entry in enumerate(entries):
        problems += [Problem(n, text) for text in _of_entry(entry)]
    sound = [(n, entry) for n, entry in enumerate(entries) if is_entry(entry)]
    return [*problems, *_row_count(sound), *_null_checks(sound), *_duplicates(sound)]


def entry_lines(text: str) -> list[int]:
    """Line of each expectation in a suite file that is valid JSON."""
    opening = re.search(r'"expectations"\s*:\s*\[', text)
    lines: list[int] = []
    position = opening.end() if opening else len(text)
    while match := re.compile(r"[\s,]*(?=[^\s,\]])").match(text, position):
        lines.append(text.count("\n", 0, match.end()) + 1)
        position = json.JSONDecoder().raw_decode(text, match.end())[1]
    return lines


def _of_entry(entry: Any) -> Iterator[str]:
    if not is_entry(entry):
        yield "is no object with a `type` and `kwargs`"
        return
    kwargs = entry["kwargs"]
    yield from (_unknown(key, ENTRY_KEYS) for key in entry if key not in ENTRY_KEYS)
    if (severity := entry.get("severity", "critical")) not in SEVERITIES:
        yield f"severity {severity!r} is unknown (known: {', '.join(SEVERITIES)})"
    if "severity" in kwargs:
        yield "has its `severity` inside kwargs; put it beside them"
    if entry["type"] in SQL_ONLY:
        yield "works on a database only, and batches are frames"
    if "$PARAMETER" in json.dumps(kwargs):
        yield "uses $PARAMETER, which nobody supplies; write the number"
    for key in ("min_value", "max_value"):
        if isinstance(kwargs.get(key), str) and NO_BOUND.search(kwargs[key]):
            yield f"{key} {kwargs[key]!r} cannot be compared with a time; write it as 2013-01-31T00:00:00"
    if "object" in (kwargs.get("type_"), *(kwargs.get("type_list") or ())):
        yield "checks for the type 'object', which depends on the version of pandas; check the values with a regex or a set"


def _row_count(entries: list[tuple[int, dict[str, Any]]]) -> Iterator[Problem]:
    def counts(entry: dict[str, Any]) -> bool:
        least = entry["kwargs"].get(ROW_COUNTS.get(entry["type"], ""))
        return isinstance(least, int) and least >= 1 and entry.get("severity", "critical") == "critical"

    if not any(counts(entry) for _, entry in entries):
        yield Problem(None, "has no critical expect_table_row_count_to_be_between with a min_value of 1 or more, so an empty batch would pass")


def _null_checks(entries: list[tuple[int, dict[str, Any]]]) -> Iterator[Problem]:
    checked = {c for _, e in entries if e["type"] in NULL_CHECKS and not e["kwargs"].get("row_condition") for c in columns_of(e["kwargs"])}
    told: set[str] = set()
    for n, entry in entries:
        for column in columns_of(entry["kwargs"]):
            if entry["type"] not in NEED_NO_NULL_CHECK and column not in checked | told:
                told.add(column)
                yield Problem(n, f"checks {column!r}, of which nothing checks the nulls, so a column without values would pass; add {NULL_CHECKS[0]}")


def _duplicates(entries: list[tuple[int, dict[str, Any]]]) -> Iterator[Problem]:
    seen: set[str] = set()
    for n, entry in entries:
        key = json.dumps([entry["type"], entry["kwargs"]], sort_keys=True)
        if key in seen:
            yield Problem(n, "stands there twice")
        seen.add(key)


def _unknown(key: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"has an unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
