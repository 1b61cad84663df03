"""Propose suites from data: a first draft that passes on the rows it came from, for a person to tighten."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from bentos.runtime.contract import Feature
from tasks.data.source import batch_name
from tasks.spec import DatasetSpec

Kind = Literal["number", "integer", "boolean", "category", "time"]
Entry = dict[str, Any]  # one expectation as the suite's JSON holds it

SCALE = 1.5  # below 1.6, so that miles taken for kilometres fail; a season seldom moves a mean or a spread that far
NUMERIC_VALUES = 10  # a column with fewer different values is a code or a count, whose mean is no fact about its unit
STATISTICS = {"mean": "mean", "median": "median", "std": "stdev"}  # pandas' word: Great Expectations' word
SMALL_SET = 20  # categories with more values get no list: it would be out of date at once
MOSTLY = 0.99  # one value in a hundred may be odd before a batch is


def column_kinds(frame: pd.DataFrame) -> dict[str, Kind]:
    """What each column of a frame seems to hold."""
    return {str(name): _kind(column) for name, column in frame.items()}


def feature_kinds(features: Mapping[str, Feature]) -> dict[str, Kind]:
    """What a contract says each feature holds."""
    return {name: feature.type for name, feature in features.items()}


def propose_suite(name: str, frame: pd.DataFrame, kinds: Mapping[str, Kind], of: str, min_rows: int, max_rows: int | None = None) -> str:
    """A suite file (JSON text, one expectation a line) that holds for `frame` and notices a change of unit by 1.6 or more.

    Args:
        name: Name of the suite, without dots.
        kinds: Columns to propose for, and what they hold; of any other column nothing is said.
        of: What the suite is about, in words, for its `meta`.
        min_rows: Rows a batch must have; with `max_rows`, at most.
    """
    bounds = {"min_value": max(1, min_rows)} | ({"max_value": max_rows} if max_rows else {})
    entries = [_entry("expect_table_row_count_to_be_between", bounds)]
    entries += [_entry("expect_column_to_exist", {"column": column}) for column in kinds]
    entries += [entry for column, kind in kinds.items() for entry in _of_column(column, frame[column], kind)]
    lines = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    return f'{{\n  "name": {json.dumps(name)},\n  "meta": {json.dumps({"of": of}, ensure_ascii=False)},\n  "expectations": [\n{lines}\n  ]\n}}\n'


def raw_suite(spec: DatasetSpec, frame: pd.DataFrame) -> str:
    """A suite for a dataset's raw batches, from the rows of one batch or of several, as `source.read` gives them."""
    kinds = {name: kind for name, kind in column_kinds(frame).items() if name != "event_time" or spec.time == name}
    sizes = frame["event_time"].map(partial(batch_name, spec)).value_counts()
    return propose_suite(f"{spec.name}_raw", frame, kinds, f"one raw batch of {spec.name}; proposed from {len(frame):,} rows", int(sizes.min()) // 2)


def feature_suite(dataset: str, model: str, frame: pd.DataFrame, features: Mapping[str, Feature], min_rows: int = 30) -> str:
    """A suite for a window of requests, from training rows in the contract's columns; a column `prediction` is looked at too if there is one."""
    kinds = feature_kinds(features) | {name: kind for name, kind in column_kinds(frame).items() if name == "prediction"}
    return propose_suite(f"{dataset}_{model}", frame, kinds, f"a window of requests for {model}; proposed from {len(frame):,} rows", min_rows)


def _kind(column: pd.Series) -> Kind:
    if pd.api.types.is_datetime64_any_dtype(column):
        return "time"
    if pd.api.types.is_bool_dtype(column) or (column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "boolean"):
        return "boolean"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "number" if pd.api.types.is_numeric_dtype(column) else "category"


def _of_column(name: str, column: pd.Series, kind: Kind) -> Iterator[Entry]:
    known = column.dropna()
    if kind == "category":
        known = known[known.astype(str) != ""]  # how the contract writes a null
    least = _least_known(1 - len(known) / max(1, len(column)))
    if known.empty or least <= 0:
        return  # nothing was seen in it, so nothing can be asked of it
    yield _entry("expect_column_values_to_not_be_null", {"column": name} | ({"mostly": least} if least < 1 else {}))
    if kind in ("number", "integer") and pd.api.types.is_numeric_dtype(known):
        yield from _of_numbers(name, known.astype("float64"), whole=kind == "integer")
    elif kind == "boolean":
        yield _entry("expect_column_values_to_be_between", {"column": name, "min_value": 0, "max_value": 1})
    elif kind == "category" and 2 * known.nunique() <= min(2 * SMALL_SET, len(known)) and all(isinstance(value, str | int | float) for value in known.unique()):
        values = sorted(column.dropna().unique().tolist(), key=str)
        yield _entry(
            "expect_column_values_to_be_in_set",
            {"column": name, "value_set": values, "mostly": 0.98},
            "warning",
            "a value that was never seen is news, not an error",
        )
        yield _entry(
            "expect_column_values_to_be_in_set", {"column": name, "value_set": values, "mostly": 0.5}, "critical", "mostly unknown values are another coding"
        )


def _of_numbers(name: str, known: pd.Series, whole: bool) -> Iterator[Entry]:
    finite = known[known.abs() < math.inf]
    if finite.empty or (whole and len(finite) > NUMERIC_VALUES and finite.is_unique and finite.max() - finite.min() < 2 * len(finite)):
        return  # numbers given in turn: those of the next batch will be others
    low, high = _padded(finite)
    share = float(known.between(low, high).mean())
    bounds = {"column": name, "min_value": low, "max_value": high, "mostly": min(MOSTLY, _floor(share - 0.01))}
    if finite.nunique() < NUMERIC_VALUES:
        yield _entry("expect_column_values_to_be_between", bounds, "warning", "few values were seen: others may be news")
        return
    yield _entry("expect_column_values_to_be_between", bounds)
    if len(finite) != len(known):
        return  # a mean over infinity is none
    statistic, value, steady = _steadiest(finite)
    near, far = sorted((_rounded(value / SCALE), _rounded(value * SCALE)))
    why = "another unit would be outside" + ("" if steady else "; a warning only, because parts of the data it comes from are outside too")
    yield _entry(f"expect_column_{statistic}_to_be_between", {"column": name, "min_value": near, "max_value": far}, "critical" if steady else "warning", why)


def _steadiest(finite: pd.Series) -> tuple[str, float, bool]:
    """The statistic that moves with the unit and moves least from part to part of the rows; its value; whether every part stays within SCALE of it.

    Seasons and chance move the mean of a temperature or of delays further than a wrong unit would: then the spread or the median may serve.
    """
    parts = min(10, max(4, len(finite) // 200))
    whole = finite.agg(list(STATISTICS))
    ratio = finite.groupby(np.arange(len(finite)) * parts // len(finite)).agg(list(STATISTICS)) / whole
    strain = pd.DataFrame(np.log(ratio.where((ratio > 0) & (ratio < math.inf)))).abs().max(skipna=False).fillna(math.inf)
    best = str(strain.idxmin())
    best = best if strain[best] < math.inf else "std"
    return STATISTICS[best], float(whole[best]), bool(strain[best] < math.log(SCALE))


def _padded(finite: pd.Series) -> tuple[float, float]:
    """Bounds around all but the outermost thousandths, wider by half their distance; zero stays a bound of what never was negative."""
    low, high = float(finite.quantile(0.001)), float(finite.quantile(0.999))
    pad = (high - low) / 2 or max(abs(high), 1.0) / 2
    digits = 1 - math.floor(math.log10(pad))
    step = 10.0**-digits
    lowest, highest = math.floor((low - pad) / step) * step, math.ceil((high + pad) / step) * step
    lowest = max(lowest, 0.0) if finite.min() >= 0 else lowest
    highest = min(highest, 0.0) if finite.max() <= 0 else highest
    return round(lowest, max(digits, 0)), round(highest, max(digits, 0))


def _least_known(null_rate: float) -> float:
    """Share of values that must be there: twice the nulls seen and two in a hundred may be missing, or half of what was there."""
    return _floor(max(1 - 2 * null_rate - 0.02, (1 - null_rate) / 2))


def _floor(share: float) -> float:
    return math.floor(share * 1000) / 1000


def _rounded(value: float) -> float:
    """To three significant digits, as a person would write a bound."""
    return float(f"{value:.3g}")


def _entry(kind: str, kwargs: Entry, severity: str = "critical", why: str = "") -> Entry:
    kwargs = {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in kwargs.items()}
    return {"type": kind, "kwargs": kwargs, "severity": severity, "meta": {"why": why} if why else {}}
