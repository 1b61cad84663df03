"""Reading a column of times: as the engine does, and beyond that in the formats that need a line of code in source.py."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.data.event_time import timed
from tasks.data.formats import Unreadable

# Day first before month first: more of the world writes it so.
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m")
NAMED = ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%a %b %d %Y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")


@dataclass(frozen=True)
class Times:
    """A column read as times, naive and in UTC. `format` is what source.py must parse it with; empty when the engine needs no help."""

    values: "pd.Series[pd.Timestamp]"
    format: str = ""
    doubt: str = ""

    @property
    def days(self) -> float:
        """From the first to the last, in days."""
        return float((self.values.max() - self.values.min()) / pd.Timedelta(days=1))


def read_times(column: "pd.Series[Any]") -> Times:
    """The times of a column.

    Raises:
        Unreadable: some of its values are no times, with the rows.
    """
    time = str(column.name)
    try:
        return Times(timed(column.to_frame(), time)["event_time"])
    except Unreadable:
        if found := _from_formats(column):
            return found
        raise


def looks_like_times(column: "pd.Series[str]") -> bool:
    """Whether a column of texts holds dates; a look at its first values."""
    texts = column.head(200)
    if not (texts.str.contains(r"\d").all() and (texts.str.len() >= 6).all() and texts.str.contains(r"[-/. :,]").all()):
        return False
    try:
        return bool(len(read_times(texts.rename("time")).values))
    except Unreadable:
        return False


def _from_formats(column: "pd.Series[Any]") -> Times | None:
    if column.isna().any():
        return None
    texts = _years(column) if pd.api.types.is_numeric_dtype(column) else column.astype(str).str.strip()
    first = texts.head(1)
    likely = [form for form in _formats(column) if _parsed(first, form) is not None]
    fits = [(form, values) for form in likely if (values := _parsed(texts, form)) is not None]
    if not fits:
        return None
    form, values = fits[0]
    if len(fits) == 1 or all(other.equals(values) for _, other in fits):
        return Times(values, form)
    form, values = next((fit for fit in fits if fit[1].is_monotonic_increasing), fits[0])
    return Times(values, form, f"{fits[0][0]!r} and {fits[1][0]!r} both fit every value, and {form!r} was taken")


def _formats(column: "pd.Series[Any]") -> list[str]:
    if pd.api.types.is_numeric_dtype(column):
        return ["%Y"]
    return [date + clock for date in (*DATES, *NAMED) for clock in CLOCKS]


def _years(column: "pd.Series[Any]") -> "pd.Series[str]":
    numbers = column.astype("float64")
    return column.astype("int64").astype(str) if numbers.between(1800, 2200).all() and (numbers % 1 == 0).all() else column.astype(str)


def _parsed(texts: "pd.Series[str]", form: str) -> "pd.Series[pd.Timestamp] | None":
    try:
        return pd.to_datetime(texts, format=form).astype("datetime64[ns]")
    except (ValueError, OverflowError):
        return None
