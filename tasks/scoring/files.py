"""CSV and Parquet files, a chunk of rows at a time: read from any fsspec path, written whole or not at all."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks.errors import RatchetError

CHUNK = 10_000  # rows in memory at a time
BUFFER = 1 << 20  # bytes that are read of a Parquet column at a time, so that a large row group is not held whole
MAGIC = b"PAR1"
PARQUET = (".parquet", ".pq")


class FileError(RatchetError):
    """A file of rows cannot be read or written."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(f"{path}: {found}. Nothing was written.")


@dataclass(frozen=True)
class Source:
    """The rows of a file. Of a CSV every value is text, and null where a field is empty."""

    path: str
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    text: bool


@contextmanager
def reading(path: str) -> Iterator[Source]:
    """The rows of a file: Parquet by its first bytes, else CSV with a header.

    Raises:
        FileError: says what was found instead; while the batches are read, too.
    """
    try:
        file: BinaryIO = fsspec.open(path, "rb", compression="infer").open()
    except (OSError, ValueError, ImportError) as err:  # an address that fsspec does not know, or has no package for
        raise FileError(path, f"cannot be opened ({_said(err)})") from err
    with file:
        yield _parquet(path, file) if file.read(len(MAGIC)) == MAGIC else _csv(path, file)


@contextmanager
def writing(path: str, schema: pa.Schema) -> Iterator[Any]:
    """A writer of batches. The file has its name only when the block ends well; until then it is a `.part` beside it.

    Raises:
        FileError: it cannot be written.
    """
    if not path.endswith((".csv", *PARQUET)):
        raise FileError(path, "is neither .csv nor .parquet, so its format is unknown")
    fs, target = fsspec.core.url_to_fs(path)
    part = f"{target}.{uuid4().hex}.part"
    try:
        with fs.open(part, "wb") as file, _writer(path, file, schema) as writer:
            yield writer
        fs.mv(part, target)
    except (OSError, pa.ArrowException) as err:
        raise FileError(path, f"cannot be written ({_said(err)})") from err
    finally:
        if fs.exists(part):
            fs.rm(part)


def _writer(path: str, file: BinaryIO, schema: pa.Schema) -> Any:
    return pq.ParquetWriter(file, schema, compression="zstd") if path.endswith(PARQUET) else pacsv.CSVWriter(file, schema)


def _parquet(path: str, file: BinaryIO) -> Source:
    file.seek(0)
    try:
        opened = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as err:
        raise FileError(path, f"is no Parquet file that can be read ({_said(err)})") from err
    _check_names(path, opened.schema_arrow.names)
    return Source(path, opened.schema_arrow, _parquet_batches(path, opened), text=False)


def _parquet_batches(path: str, opened: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    try:
        yield from opened.iter_batches(CHUNK, use_threads=False)
    except (pa.ArrowException, OSError) as err:
        raise FileError(path, f"cannot be read to its end ({_said(err)})") from err


def _csv(path: str, file: BinaryIO) -> Source:
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        first = text.readline(BUFFER)
        if not first.strip():
            raise FileError(path, "is empty, or its first line is")
        lines = csv.reader(chain([first], text), delimiter=max(",;\t|", key=first.count), strict=True)
        names = [name.strip() for name in next(lines)]
    except (UnicodeDecodeError, csv.Error, OSError) as err:
        raise FileError(path, f"is neither Parquet nor a CSV in UTF-8 ({_said(err)})") from err
    _check_names(path, names)
    schema = pa.schema([(name, pa.string()) for name in names])
    return Source(path, schema, _csv_batches(path, lines, schema), text=True)


def _csv_batches(path: str, lines: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        while rows := list(islice(filter(None, lines), CHUNK)):  # a blank line is no row
            odd = next((row for row in rows if len(row) != len(schema)), None)
            if odd is not None:
                raise FileError(path, f"is ragged: its header has {len(schema)} fields, a row up to line {lines.line_num:,} has {len(odd)}")
            yield pa.record_batch([pa.array([value or None for value in column], pa.string()) for column in zip(*rows, strict=True)], schema=schema)
    except (UnicodeDecodeError, csv.Error, OSError) as err:
        raise FileError(path, f"cannot be read beyond line {lines.line_num:,} ({_said(err)})") from err


def _check_names(path: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        raise FileError(path, f"names a column more than once: {', '.join(map(repr, twice[:5]))}" if names else "has no columns")


def _said(err: BaseException) -> str:
    return next(iter(str(err).splitlines()), type(err).__name__)[:200]
