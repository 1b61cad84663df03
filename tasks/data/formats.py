"""CSV and Parquet bytes to frames and back. Nothing here knows of datasets, batches or time."""

import csv
from collections import Counter
from collections.abc import Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks.errors import RatchetError

PARQUET_MAGIC = b"PAR1"
SHOWN = 5  # examples in a message


class Unreadable(RatchetError):  # a fact about a file; `source.read` words it as the SourceError of a batch
    """What is wrong with a table, as the predicate of a sentence whose subject the reader of it knows."""


def frame_of(data: bytes, name: str) -> pd.DataFrame:
    """Parse a file's bytes: Parquet by its name or its first bytes, else CSV.

    Raises:
        Unreadable: says what was found instead of a table.
    """
    if not data:
        raise Unreadable("is empty (0 bytes)")
    if name.endswith((".parquet", ".pq")) or data.startswith(PARQUET_MAGIC):
        return _parquet_frame(data)
    return _csv_frame(data)


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """The frame as Parquet whose bytes depend on its rows, columns and types only (and on pyarrow's version)."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)  # pandas' metadata names its version
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def normal(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows in types that every later step can hold: times in UTC without a zone, one type a column, numbered rows."""
    frame = frame.reset_index(drop=isinstance(frame.index, pd.RangeIndex) or frame.index.names == [None])
    frame.columns = frame.columns.map(str)
    _check_names(frame.columns)
    return frame.assign(
        **{str(name): _normal_column(column) for name, column in frame.items() if column.dtype == object or isinstance(column.dtype, pd.DatetimeTZDtype)}
    )


def _normal_column(column: pd.Series) -> pd.Series:
    if column.dtype == object:
        try:
            values = pa.array(column, from_pandas=True)
        except pa.ArrowException:  # of several types: Parquet could not hold it
            return column.map(str, na_action="ignore")
        if pa.types.is_decimal(values.type):
            return column.astype("float64")
        if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
            return column
        column = pd.Series(values.to_pandas(date_as_object=False), index=column.index)
    return column.dt.tz_convert(None) if isinstance(column.dtype, pd.DatetimeTZDtype) else column


def _check_names(names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Unreadable(f"names a column more than once: {', '.join(map(repr, twice[:SHOWN]))}")


def _parquet_frame(data: bytes) -> pd.DataFrame:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_names(file.schema_arrow.names)
        frame: pd.DataFrame = file.read().to_pandas(date_as_object=False)
        return frame
    except (pa.ArrowException, OSError) as err:
        raise Unreadable(f"is no Parquet file that can be read ({str(err).splitlines()[0][:120]})") from err


def _csv_frame(data: bytes) -> pd.DataFrame:
    """Parse a CSV with a header. pyarrow, because pandas pads short rows and renames doubled columns without a word."""
    text = _utf8_line(data)
    if b"\n" not in data.strip():
        raise Unreadable("holds a header and no rows")
    delimiter = max(",;\t|", key=text.count)
    names = [name.strip() or f"unnamed_{n}" for n, name in enumerate(next(csv.reader([text], delimiter=delimiter), []))]
    _check_names(names)
    ragged: list[str] = []

    def note(row: pacsv.InvalidRow) -> str:
        ragged.append(f"row {row.number} has {row.actual_columns} fields")
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            pacsv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),  # threads do not number the rows
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True),
        )
    except pa.ArrowInvalid as err:
        raise Unreadable(f"is no CSV that can be read ({str(err).splitlines()[0][:120]})") from err
    if ragged:
        raise Unreadable(f"is ragged: the header (row 1) has {len(names)} fields, {', '.join(ragged[:SHOWN])}{' …' if len(ragged) > SHOWN else ''}")
    if data.count(b'"') % 2 and any(pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns):
        raise Unreadable("opens a quote that is never closed, which swallows the rows after it")
    frame: pd.DataFrame = pa.table([_typed(column) for column in table.columns], names=names).to_pandas()
    return frame


def _utf8_line(data: bytes) -> str:
    """The first line, once all bytes are known to be UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise Unreadable(f"is not UTF-8 text: line {line} holds the byte 0x{data[err.start]:02x}") from err
    first = data.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8").strip("\r")
    if not first.strip():
        raise Unreadable("has no header: its first line is empty")
    return first


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The narrowest of integer, float, boolean and text that holds every value. Codes such as `02139` stay text."""
    trimmed = pc.utf8_trim_whitespace(column)
    if pc.any(pc.match_substring_regex(trimmed, r"^[+-]?0\d|^0x|^[+-]?\d{19}")).as_py():
        return column
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return trimmed.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column
