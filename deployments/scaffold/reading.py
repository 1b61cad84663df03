"""Reading a file that nobody has described yet, as the engine will read it; what the engine cannot read by itself is found out and said."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd

from tasks.data.formats import Unreadable, frame_of, normal
from tasks.errors import SpecError, UnknownNameError

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq")
PACKED = (".gz", ".bz2", ".xz", ".zst")
MIN_ROWS = 50  # a fifth of them is the hold-out, and a gate needs at least 10 rows
UTF16 = (b"\xff\xfe", b"\xfe\xff")
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+(,\d+)?\s*")


@dataclass(frozen=True)
class Table:
    """The rows of a file. `arguments` are what `pandas.read_csv` must be told; empty when the engine reads the file by itself."""

    path: Path
    frame: pd.DataFrame
    arguments: dict[str, str | bool]

    @property
    def ending(self) -> str:
        """The file's suffixes, such as '.csv' or '.csv.gz'."""
        return _ending(self.path)


def read_table(path: Path) -> Table:
    """Read a CSV or Parquet file.

    Raises:
        SpecError: it is missing, of another kind, no table, without a line of column names, or has fewer than 50 rows.
    """
    if not path.is_file():
        raise SpecError(path, ["there is no such file; give --from the path of a CSV or Parquet file"])
    if not _ending(path).removesuffix(path.suffix if path.suffix.lower() in PACKED else "").endswith(ENDINGS):
        raise SpecError(path, [f"files that end in {path.suffix or 'nothing'!r} are not read; save the table as .csv (or .csv.gz) or .parquet"])
    table = _read(path)
    names = [str(name) for name in table.frame.columns]
    if len(names) < 2:
        raise SpecError(path, ["has one column only; columns must be separated by a comma, semicolon, tab or |"])
    if all(re.fullmatch(r"[+-]?[\d.,]+(e[+-]?\d+)?", name) for name in names):
        raise SpecError(path, [f"its first line holds numbers ({', '.join(names[:3])}, …), not the names of the columns; add a line of names"])
    if len(table.frame) < MIN_ROWS:
        raise SpecError(path, [f"has {len(table.frame)} rows; at least {MIN_ROWS} are needed to train on some and to judge on others"])
    return table


def column_of(table: Table, name: str, option: str) -> "pd.Series[Any]":
    """The column that a command line option names.

    Raises:
        UnknownNameError: the file has no such column; near misses are suggested.
    """
    if name not in table.frame:
        raise UnknownNameError(f"column for {option}", name, map(str, table.frame.columns), table.path)
    return table.frame[name]


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:] if path.suffix.lower() in PACKED else path.suffixes[-1:]).lower()


def _read(path: Path) -> Table:
    try:
        with fsspec.open(str(path), "rb", compression="infer") as file:
            data: bytes = file.read()
    except (OSError, EOFError, ValueError) as err:
        raise SpecError(path, [f"cannot be opened: {err}"]) from err
    encoding = _encoding(data)
    told: dict[str, str | bool] = {"encoding": encoding} if encoding else {}
    text = data.decode(encoding, "ignore").encode() if encoding else data
    separator = _separator(text)
    if encoding:
        frame = _with_pandas(path, text, separator, told)
    else:
        try:
            frame = normal(frame_of(data, path.name))
        except Unreadable as err:
            raise SpecError(path, [str(err)]) from err
    texts = [str(name) for name in frame.columns if frame[name].dtype == object]
    if separator != "," and any(_has_decimal_comma(frame[name]) for name in texts):
        told["decimal"] = ","
    if any(_padded(frame[name]) for name in texts):
        told["skipinitialspace"] = True
    if not told:
        return Table(path, frame, {})
    arguments: dict[str, str | bool] = {} if separator == "," else {"sep": separator}
    return Table(path, _with_pandas(path, text, separator, told), arguments | told)


def _encoding(data: bytes) -> str:
    """What to decode with, or the empty string for UTF-8 and Parquet."""
    if data.startswith(UTF16):
        return "utf-16"
    if data.startswith(b"PAR1") or b"\0" in data[:65_536]:
        return ""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"  # what spreadsheets write in Western Europe
    return ""


def _with_pandas(path: Path, text: bytes, separator: str, told: dict[str, str | bool]) -> pd.DataFrame:
    names = [name.strip() for name in text.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode().strip("\r").split(separator)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(path, [f"names a column more than once: {', '.join(map(repr, twice))}"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header would lose its last field
        try:
            return normal(pd.read_csv(path, low_memory=False, index_col=False, sep=separator, **told))  # type: ignore[call-overload]  # the names are read_csv's
        except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as err:
            raise SpecError(path, [f"cannot be read as CSV: {str(err).splitlines()[0][:200]}"]) from err


def _separator(text: bytes) -> str:
    line = text.split(b"\n", 1)[0]
    return max((b",", b";", b"\t", b"|"), key=line.count).decode()


def _has_decimal_comma(column: "pd.Series[Any]") -> bool:
    texts = column.dropna().astype(str).head(1_000)
    return len(texts) > 0 and bool(texts.str.fullmatch(DECIMAL_COMMA).all()) and bool(texts.str.contains(",").any())


def _padded(column: "pd.Series[Any]") -> bool:
    texts = column.dropna().astype(str).head(1_000)
    return len(texts) > 0 and bool(texts.str.startswith(" ").mean() > 0.9)
