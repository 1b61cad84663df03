"""From the columns of a file to rows as a caller would send them. What a row may hold is then judged by the endpoint's own types."""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from bentos.runtime.contract import Contract, Feature
from bentos.runtime.errors import invalid
from bentos.runtime.rows import row_model
from tasks.scoring.files import FileError, Source

Row = dict[str, Any]
Rows = Callable[[pa.RecordBatch], list[Row]]
BOOLEANS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}


def feature_rows(source: Source, contract: Contract) -> Rows:
    """A function that makes request rows of a batch whose columns are the features; other columns are nobody's business here.

    Raises:
        FileError: a feature has no column. A request may leave a nullable one out; in a file that is more likely a misspelling.
    """
    missing = [name for name in contract.features if name not in source.schema.names]
    if missing:
        raise FileError(source.path, "; ".join(_unknown(name, source.schema.names) for name in missing))

    def rows(batch: pa.RecordBatch) -> list[Row]:
        columns = {name: _values(batch.column(name), feature, source.text) for name, feature in contract.features.items()}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    return rows


class Check:
    """Holds rows against the types of /predict; what is wrong with a row is said in the endpoint's words."""

    def __init__(self, contract: Contract) -> None:
        row: Any = row_model(contract)
        many: Any = list[row]
        self.one: TypeAdapter[Any] = TypeAdapter(row)
        self.many: TypeAdapter[Any] = TypeAdapter(many)
        self.required = [name for name, feature in contract.features.items() if not feature.nullable]

    def __call__(self, rows: Sequence[Row]) -> dict[int, str]:
        """What is wrong, by the number of the row; empty when all may be scored."""
        try:
            self.many.validate_python(rows)
        except ValidationError as err:
            wrong = {int(error["loc"][0]) for error in err.errors(include_url=False, include_context=False, include_input=False)}
            return {number: self._problem(rows[number]) for number in sorted(wrong)}
        return {}

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


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"has no column {name!r}, which the model needs" + (f"; did you mean it by {near[0]!r}?" if near else "")
