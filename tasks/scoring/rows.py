"""From the columns of a file to rows as a caller would send them. What a row may hold is then judged by the endpoint's own types."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from bentos.runtime.contract import Contract, Feature
from bentos.runtime.errors import invalid
from bentos.runtime.rows import Moment, row_model
from tasks.scoring.files import FileError, Source

Row = dict[str, Any]
Rows = Callable[[pa.RecordBatch], list[Row]]
BOOLEANS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}
BESIDE = ("event_time", "entity")  # what a request's row may have beside its features
AHEAD = "event_time: The time is too far ahead of the server's clock."


def feature_rows(source: Source, contract: Contract) -> Rows:
    """A function that makes request rows of a batch whose columns are the features, with `event_time` and `entity` where the file has them.

    Other columns are nobody's business here.

    Raises:
        FileError: a feature has no column. A request may leave a nullable one out; in a file that is more likely a misspelling.
    """
    missing = [name for name in contract.features if name not in source.schema.names]
    if missing:
        spare = [name for name in source.schema.names if name not in contract.features]
        raise FileError(source.path, _lacks([_guessed(name, spare) for name in missing]))
    beside = [name for name in BESIDE if name in source.schema.names]

    def rows(batch: pa.RecordBatch) -> list[Row]:
        columns = {name: _values(batch.column(name), feature, source.text) for name, feature in contract.features.items()}
        columns |= {name: _sent(batch.column(name)) for name in beside}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    return rows


class Check:
    """Holds rows against the types of /predict, and their times against the clock; what is wrong with a row is said in the endpoint's words.

    Args:
        max_skew: How far ahead of the clock an event time may be.
    """

    def __init__(self, contract: Contract, max_skew: timedelta) -> None:
        row: Any = row_model(contract)
        many: Any = list[row]
        self.one: TypeAdapter[Any] = TypeAdapter(row)
        self.many: TypeAdapter[Any] = TypeAdapter(many)
        self.moments: TypeAdapter[list[datetime | None]] = TypeAdapter(list[Moment | None])
        self.max_skew = max_skew
        self.required = [name for name, feature in contract.features.items() if not feature.nullable]

    def __call__(self, rows: Sequence[Row]) -> dict[int, str]:
        """What is wrong, by the number of the row; empty when all may be scored."""
        wrong = {}
        try:
            self.many.validate_python(rows)
        except ValidationError as err:
            numbers = {int(error["loc"][0]) for error in err.errors(include_url=False, include_context=False, include_input=False)}
            wrong = {number: self._problem(rows[number]) for number in sorted(numbers)}
        return wrong | self._late(rows, wrong) if rows and "event_time" in rows[0] else wrong

    def _late(self, rows: Sequence[Row], wrong: Mapping[int, str]) -> dict[int, str]:
        """The rows, of those that are not wrong, whose time is too far ahead."""
        good = [number for number in range(len(rows)) if number not in wrong]
        latest = datetime.now(UTC) + self.max_skew
        moments = self.moments.validate_python([rows[number]["event_time"] for number in good])
        return {number: AHEAD for number, moment in zip(good, moments, strict=True) if moment and moment > latest}

    def _problem(self, row: Mapping[str, Any]) -> str:
        empty = [name for name in self.required if row.get(name) is None]
        try:
            self.one.validate_python({name: value for name, value in row.items() if name not in empty})
        except ValidationError as err:
            return "; ".join(f"{field.path}: {field.message}" for field in invalid(err).fields)
        return ""


def _values(column: pa.Array, feature: Feature, text: bool) -> list[Any]:
    """The values of a column as JSON would say them; what is no value of the feature's type is left for `Check` to refuse."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values: list[Any] = column.to_pylist()
    match feature.type:
        case "category":
            return values
        case "boolean":
            return [BOOLEANS.get(value.strip().lower() if text and value else value, value) for value in _known(values)]
        case _:
            return [_number(value) for value in values] if text else _known(values)


def _sent(column: pa.Array) -> list[Any]:
    """As `_values`, of a time or an entity: JSON has no times, so those of a Parquet file become text, in UTC."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp(column.type.unit))
    return _known((column.cast(pa.string()) if pa.types.is_temporal(column.type) else column).to_pylist())


def _known(values: list[Any]) -> list[Any]:
    """NaN is how pandas says null."""
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _number(text: str | None) -> float | str | None:
    if text is None:
        return None
    try:
        return text if "_" in text else float(text)  # 1_000 is a number in Python only
    except ValueError:
        return text


def _guessed(name: str, spare: Sequence[str]) -> str:
    near = get_close_matches(name, spare, n=1)
    return f"{name!r} (meant by {near[0]!r}?)" if near else repr(name)


def _lacks(names: Sequence[str]) -> str:
    listed = " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"has no column {listed}, which the model needs; add what is missing, with empty fields where a feature may be null"
