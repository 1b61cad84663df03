"""What a table's columns are: features with their names and types, and what is better left out, with the reason. Pure; nothing is asked."""

import keyword
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bentos.runtime.contract import RESERVED
from deployments.scaffold.times import looks_like_times

Kind = Literal["number", "integer", "boolean", "category"]
# Words that the training frame, the reference rows or an answer use for themselves.
TAKEN = frozenset({*RESERVED, "label", "prediction", "score", "holdout", "id", "version"})
ID_NAME = re.compile(r"(^|_)(id|ids|uuid|guid|rowid|row_number|index|nr)$|^unnamed(_\d+)?$|[a-z](ID|Id)$")
DECORATION = re.compile(r"[,$€£¥%\s]")  # what people write around a number
ID_SHARE = 0.3  # a text that takes a new value in three rows of ten teaches nothing about the next row
ROWS_PER_ID = 50  # an id with more rows a value names a place or a group, which comes back; one with fewer names persons or things
FREE_TEXT_WORDS = 4
FEW_VALUES = 10
UNKNOWN_SHARE = 0.2
UNKNOWN_TEXTS = 3


@dataclass(frozen=True)
class Column:
    """A raw column that becomes a feature. `unknown` are the texts that mean null in a column of numbers."""

    raw: str
    name: str
    kind: Kind
    nullable: bool = False
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Left:
    """A raw column that is left out of the features."""

    raw: str
    reason: str

    @property
    def is_key(self) -> bool:
        """Whether it seems to name what a row is about."""
        return self.reason.startswith(("an id", "a different whole number"))


@dataclass(frozen=True)
class Columns:
    """All columns of a table but label and time."""

    features: tuple[Column, ...]
    left: tuple[Left, ...]


def columns(frame: pd.DataFrame, taken: Iterable[str]) -> Columns:
    """Features and left-out columns of a frame. `taken` are the columns that are neither: label and time."""
    features: list[Column] = []
    left: list[Left] = []
    raws, skip = list(map(str, frame.columns)), set(taken)
    for position, raw in enumerate(raws):
        if raw in skip:
            continue
        column, name = frame[raw], feature_name(raw, position)
        unknown = unknown_texts(column)
        read = numeric(column, unknown) if unknown else column
        if reason := _why_not(read, name):
            left.append(Left(raw, reason))
            continue
        names = {feature.name for feature in features} | {other for other in raws if other != raw}
        features.append(Column(raw, free_name(name, names), _kind(read), bool((read.isna() | (read == "")).any()), unknown))
    return Columns(tuple(features), tuple(left))


def feature_name(raw: str, position: int) -> str:
    """A raw column's name as a Python name; a name that is one already stays as it is, since callers know it."""
    name = raw
    if not (raw.isidentifier() and raw.isascii() and not raw.startswith("_")):
        plain = unicodedata.normalize("NFKD", raw.casefold()).encode("ascii", "ignore").decode()
        name = re.sub(r"[^0-9a-z]+", "_", plain).strip("_") or f"column_{position + 1}"
        name = f"column_{name}" if name[0].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) or name in TAKEN else name


def free_name(name: str, names: Iterable[str]) -> str:
    """`name`, or with the first number behind it that is not among `names`."""
    names, number, found = set(names), 2, name
    while found in names:
        found, number = f"{name}_{number}", number + 1
    return found


def unknown_texts(column: pd.Series) -> tuple[str, ...]:
    """Texts such as '?' that stand for null among numbers that were read as text; empty for every other column."""
    if column.dtype != object:
        return ()
    texts = column.dropna().astype(str)
    rest = texts[pd.to_numeric(texts, errors="coerce").isna()]
    few = 0 < len(rest) <= UNKNOWN_SHARE * len(texts) and rest.nunique() <= UNKNOWN_TEXTS and not rest.str.contains(r"\d").any()
    return tuple(sorted(rest.unique())) if few else ()


def numeric(column: pd.Series, unknown: tuple[str, ...]) -> pd.Series:
    """The numbers of such a column."""
    return column.mask(column.isin(unknown)).astype("float64")


def _kind(column: pd.Series) -> Kind:
    if pd.api.types.is_bool_dtype(column) or (column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "boolean"):
        return "boolean"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "number" if pd.api.types.is_numeric_dtype(column) else "category"


def _why_not(column: pd.Series, name: str) -> str:
    """Why a column is no feature, or the empty string."""
    known = column.dropna()
    if known.empty:
        return "null in every row"
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        return "holds times; derive a number from it in features(), or give it as --time"
    try:
        distinct = int(known.nunique())
    except TypeError:
        return "holds lists or records"
    if distinct == 1 and len(known) == len(column):
        return f"is {str(known.iloc[0])[:40]!r} in every row"
    if len(known) < FEW_VALUES:
        return f"has a value in {len(known)} rows only"
    if _kind(column) == "category":
        return _why_no_category(known.astype(str), distinct, name)
    return _why_no_number(known, distinct, name)


def _why_no_number(known: pd.Series, distinct: int, name: str) -> str:
    if not np.isfinite(known.astype("float64")).all():
        return "holds infinite numbers; mend them in features()"
    if not pd.api.types.is_integer_dtype(known):
        return ""
    if distinct == len(known) and (ID_NAME.search(name) or int(known.max()) - int(known.min()) + 1 == distinct):
        return "a different whole number in every row: an id or a row number"
    return f"an id with {distinct:,} values" if _is_sparse_id(name, distinct, len(known)) else ""


def _why_no_category(texts: pd.Series, distinct: int, name: str) -> str:
    if looks_like_times(texts):
        return "holds dates as text; derive a number from it in features(), or give it as --time"
    if texts.str.contains(DECORATION).all() and pd.to_numeric(texts.str.replace(DECORATION, "", regex=True), errors="coerce").notna().all():
        return f"numbers written as text, such as {texts.iloc[0][:40]!r}; make them numbers in features()"
    if distinct <= ID_SHARE * len(texts) and not _is_sparse_id(name, distinct, len(texts)):
        return ""
    if texts.head(1_000).str.split().str.len().mean() >= FREE_TEXT_WORDS:
        return f"free text, {distinct:,} different ones in {len(texts):,} rows"
    return f"an id or names: {distinct:,} different texts in {len(texts):,} rows"


def _is_sparse_id(name: str, distinct: int, rows: int) -> bool:
    return bool(ID_NAME.search(name)) and distinct * ROWS_PER_ID > rows
