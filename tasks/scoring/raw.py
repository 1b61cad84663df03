"""Raw rows of the dataset to request rows: through the author's `features()`, as in training, but a chunk at a time.

In training a column has one type over all rows, and so it must here: pandas makes floats of integers where nulls are among them,
and `1` and `1.0` are two categories. So the file is read twice, the first time for the types.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bentos.runtime import card
from bentos.runtime.contract import Contract
from tasks.errors import SpecError
from tasks.scoring.batch import RowsOf
from tasks.scoring.files import Source, reading
from tasks.scoring.rows import Row, Rows
from tasks.spec import DatasetSpec, ModelSpec

Timed = Callable[[pd.DataFrame, str], pd.DataFrame]
CODE = r"^[+-]?0\d|^0x|^[+-]?\d{19}"  # codes such as 02139 stay text


def raw_rows(dataset: DatasetSpec, model: ModelSpec, features: Callable[[pd.DataFrame], pd.DataFrame], timed: Timed) -> RowsOf:
    """What `score_file` needs to read raw rows. `timed` parses the dataset's time column; columns known only after the event are hidden."""
    hidden = [*dataset.outcome, model.label.column]

    def rows_of(source: Source, contract: Contract) -> Rows:
        types = types_of(source.path)

        def rows(batch: pa.RecordBatch) -> list[Row]:
            frame = _normal(batch, types, source.text).drop(columns=hidden, errors="ignore")
            frame = timed(frame, dataset.time) if dataset.time else frame
            return card.request_rows(_typed(features, frame, model, contract), contract)

        return rows

    return rows_of


def types_of(path: str) -> dict[str, pa.DataType]:
    """Types of the columns over all rows of a file: the narrowest that fits where they are text, and float for integers with nulls."""
    with reading(path) as source:
        types = {field.name: pa.null() if source.text else field.type for field in source.schema}
        nulls = dict.fromkeys(types, False)
        for batch in source.batches:
            for name, column in zip(types, batch.columns, strict=True):
                nulls[name] |= column.null_count > 0
                if source.text:
                    types[name] = _wider(types[name], _narrowest(column))
    return {name: pa.float64() if nulls[name] and pa.types.is_integer(kind) else kind for name, kind in types.items()}


def _typed(features: Callable[[pd.DataFrame], pd.DataFrame], frame: pd.DataFrame, model: ModelSpec, contract: Contract) -> pd.DataFrame:
    path = model.folder / "pipeline.py"
    try:
        return contract.frame(features(frame))
    except Exception as err:  # whatever an author's function raises is told by name
        raise SpecError(path, [f"features() cannot be made of these raw rows: {type(err).__name__}: {err}"]) from err


def _normal(batch: pa.RecordBatch, types: dict[str, pa.DataType], text: bool) -> pd.DataFrame:
    """The frame that ingesting the file would have made: times in UTC without a zone, one type a column."""
    columns: dict[str, Any] = {}
    for name, column in zip(types, batch.columns, strict=True):
        kind = pa.string() if types[name] == pa.null() else types[name]
        if pa.types.is_decimal(kind):
            kind = pa.float64()
        elif pa.types.is_timestamp(kind) and kind.tz:
            kind = pa.timestamp(kind.unit)
        trimmed = pc.utf8_trim_whitespace(column) if text and kind != pa.string() else column
        columns[name] = (trimmed.cast(kind) if trimmed.type != kind else trimmed).to_pandas(date_as_object=False)
    return pd.DataFrame(columns)


def _narrowest(column: pa.Array) -> pa.DataType:
    if column.null_count == len(column):
        return pa.null()
    trimmed = pc.utf8_trim_whitespace(column)
    if pc.any(pc.match_substring_regex(trimmed, CODE)).as_py():
        return pa.string()
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            trimmed.cast(kind)
        except pa.ArrowInvalid:
            continue
        return kind
    return pa.string()


def _wider(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """The type that holds both: text, unless both are numbers, or one is only nulls."""
    if left == right or right == pa.null():
        return left
    if left == pa.null():
        return right
    return pa.float64() if {left, right} == {pa.int64(), pa.float64()} else pa.string()
