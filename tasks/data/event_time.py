"""The event time of raw rows, read from the dataset's time column. Times without a zone are taken as UTC."""

from difflib import get_close_matches
from typing import Literal

import pandas as pd

from tasks.data.formats import SHOWN, Unreadable

EPOCH = pd.Timestamp(0)
UNIX: dict[Literal["s", "ms", "us", "ns"], tuple[float, float]] = {
    "s": (1e8, 1e11),
    "ms": (1e11, 1e14),
    "us": (1e14, 1e17),
    "ns": (1e17, 9e18),
}  # a unit's numbers for the years 1973 to 2255 and more
ORDERS = ("%d/%m/%Y", "%m/%d/%Y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def timed(frame: pd.DataFrame, time: str, offset: int = 0) -> pd.DataFrame:
    """The rows with a column `event_time` (datetime64[ns], UTC without a zone), their own time column parsed the same.

    Args:
        time: Name of the time column; empty: a row's number, in seconds after 1970, counts as its time.
        offset: Number of rows before the first one, when the frame is a part.

    Raises:
        Unreadable: no such column, values that are no times, or a foreign column called `event_time`.
    """
    if time and time not in frame:
        near = get_close_matches(time, list(frame.columns), n=1)
        listed = ", ".join(list(frame.columns)[:12])
        raise Unreadable(f"has no time column {time!r} (columns: {listed}).{f' Did you mean {near[0]!r}?' if near else ''}".rstrip("."))
    times = _parsed(frame[time], time) if time else EPOCH + pd.to_timedelta(pd.RangeIndex(offset, offset + len(frame)).to_series(index=frame.index), unit="s")
    times = times.astype("datetime64[ns]").rename("event_time")
    if "event_time" in frame and time != "event_time" and not (frame["event_time"] == times).all():
        raise Unreadable("has a column `event_time` of its own, a name the engine needs; rename it, or make it the time column")
    return frame.assign(**{name: times for name in (time, "event_time") if name})


def _parsed(column: pd.Series, time: str) -> pd.Series:
    times: pd.Series = column
    if pd.api.types.is_datetime64_dtype(column):
        pass
    elif pd.api.types.is_numeric_dtype(column):
        times = _from_numbers(column, time)
    else:
        times = _from_text(column, time)
    _check(times, column, time)
    return times


def _check(times: pd.Series, column: pd.Series, time: str) -> None:
    bad = times.isna().to_numpy().nonzero()[0]
    if len(bad):
        shown = ", ".join(f"row {n + 1} {'is empty' if pd.isna(column.iloc[n]) else repr(str(column.iloc[n])[:30])}" for n in bad[:SHOWN])
        raise Unreadable(f"has {len(bad):,} of {len(column):,} values in time column {time!r} that are no times (row 1 is the first below a header): {shown}")


def _from_numbers(column: pd.Series, time: str) -> pd.Series:
    """Unix times, whose unit their size tells, dates written as 20130131, or years."""
    known = column.dropna()
    for unit, (low, high) in UNIX.items():
        if len(known) and known.between(low, high).all():
            return pd.to_datetime(column, unit=unit)
    for form, low, high in (("%Y%m%d", 16_780_101, 22_611_231), ("%Y", 1678, 2261)):
        if len(known) and (known.between(low, high) & (known % 1 == 0)).all():
            return pd.to_datetime(column.astype("Int64").astype("string"), format=form, errors="coerce")
    raise Unreadable(f"holds numbers in time column {time!r} that are no Unix times, no dates such as 20130131 and no years (first: {known.head(3).tolist()})")


def _iso(text: pd.Series) -> pd.Series:
    times: pd.Series = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
    return times


def _from_text(column: pd.Series, time: str) -> pd.Series:
    """ISO 8601, else the one order of day and month that fits every row."""
    text = column.astype("string").str.strip().astype(object)
    zoned = text.str.contains(r"Z$|:.*[+-]\d{2}(?::?\d{2})?$", na=False)
    # Apart, because pandas 2.3 gives a time without a zone the zone of the row before it.
    times = _iso(text.where(zoned)).fillna(_iso(text.mask(zoned)))
    if times.notna().any():
        return times
    slashed = text.str.replace(r"[.-]", "/", regex=True)
    fits = [{clock: read for clock in CLOCKS if (read := pd.to_datetime(slashed, format=order + clock, errors="coerce")).notna().all()} for order in ORDERS]
    if all(fits):
        raise Unreadable(
            f"has times in column {time!r} of which day and month cannot be told apart (first: {str(text.iloc[0])[:30]!r}); write them as 2013-01-31"
        )
    return next((next(iter(fit.values())) for fit in fits if fit), times)
