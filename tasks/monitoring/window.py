"""Windows of live traffic and the data's clock: which windows have closed, and which of those are still to be judged."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from tasks.ledger.rows import WindowRow
from tasks.monitoring.log import NAMES, Logs

Period = Literal["day", "week", "month"]
STRAY = 0.01  # share of the newest distinct times that may be wrong without moving the clock
LABELLED = 0.9  # some rows never get a label (a flight that was cancelled); a tenth of them is more than the worst month of the demo has
TAIL = 0.1  # newest share of a window's rows, in which labels must be as complete as in all of it
NEAR = 0.02  # a window whose last row is this share of its length from its end lacks nothing that a verdict could hang on


@dataclass(frozen=True)
class Window:
    """A half-open span of event time, tz-aware, with the name it has in the ledger: 2013-04, 2013-W14 or 2013-04-03."""

    name: str
    start: datetime
    end: datetime


def window_of(moment: datetime, period: Period) -> Window:
    """The window that a moment of UTC lies in; weeks are ISO weeks."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    if period == "month":
        start = day.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    else:
        start = day - timedelta(days=day.weekday()) if period == "week" else day
        end = start + timedelta(days=7 if period == "week" else 1)
    return Window(start.strftime(NAMES[period]), start, end)


def watermark(newest: np.ndarray) -> datetime | None:
    """The data's clock: the 99 % quantile of the newest distinct times (sorted, UTC), and never the newest of all, so that a stray one closes nothing."""
    strays = max(1, int(len(newest) * STRAY))
    return None if len(newest) <= strays else pd.Timestamp(newest[-1 - strays]).to_pydatetime(warn=False).replace(tzinfo=UTC)


def closed(logs: Logs, period: Period, label_delay: timedelta, judged: Iterable[WindowRow] = ()) -> list[Window]:
    """Windows to judge now, oldest first; `judged` are those that were, so that none is judged twice for the same.

    A window is judged once, when its labels are complete: the clock has passed its end and the label delay, or the labels
    have caught up with its rows and its last row is at its end. Where labels take longer than a window lasts, drift does
    not wait for them: the window is judged when the clock has passed its end, and again when its labels are complete.
    """
    clock, before = watermark(logs.newest), {row.window for row in judged}
    return [window for window, rows in _spans(logs, period) if _due(window, rows, clock, label_delay, window.name in before)]


def complete(window: Window, rows: pd.DataFrame, clock: datetime | None, label_delay: timedelta) -> bool:
    """True when the labels of a window's rows are all there that will be, so that its performance can be judged."""
    if clock is not None and clock >= window.end + label_delay:
        return True
    near = window.end - (window.end - window.start) * NEAR
    at_end = rows["event_time"].iloc[-1] >= pd.Timestamp(near).tz_localize(None)
    return caught_up(rows["label"]) and bool(at_end or (clock is not None and clock >= window.end))


def caught_up(labels: pd.Series) -> bool:
    """True when nearly all rows, sorted by event time, have a label, and the newest ones no less than the others."""
    known = labels.notna()
    newest = known.iloc[-max(1, int(len(known) * TAIL)) :]
    return bool(known.mean() >= LABELLED and newest.mean() >= LABELLED * known.mean())


def _due(window: Window, rows: pd.DataFrame, clock: datetime | None, label_delay: timedelta, before: bool) -> bool:
    if complete(window, rows, clock, label_delay):
        return True
    slow = label_delay > window.end - window.start
    return slow and not before and clock is not None and clock >= window.end


def _spans(logs: Logs, period: Period) -> Iterator[tuple[Window, pd.DataFrame]]:
    for _, rows in logs.answers.groupby("window", sort=True):
        yield window_of(rows["event_time"].iloc[0].to_pydatetime(), period), rows
