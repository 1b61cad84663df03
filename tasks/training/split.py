"""Cutting rows in time: the older part trains, the newer part judges. Nothing is shuffled."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from tasks.errors import TrainingError
from tasks.spec import Gate

VALIDATION_SHARE = 1 / 3  # most of the training rows that a search may keep for its validation, so that little data still fits something


@dataclass(frozen=True)
class Split:
    """Rows up to `cutoff` (the time of the newest training row) and the later ones, both in order of time."""

    cutoff: datetime
    seen_until: datetime
    train: pd.DataFrame
    holdout: pd.DataFrame


def split(frame: pd.DataFrame, gate: Gate, model: str) -> Split:
    """Keep the newest whole days (`holdout_days`) or, without them, the newest share of the rows for the gate.

    Raises:
        TrainingError: one of the parts would be empty.
    """
    if frame.empty:
        raise TrainingError(model, "no row of the snapshot has a known label", "Look at label.column in its model.toml and at the batches.")
    if gate.holdout_days:
        return _at(frame, _start_of_last(frame, gate.holdout_days), model)
    return _at(frame, _time_of_newest(frame, round(len(frame) * gate.holdout_share)), model)


def validation(train: pd.DataFrame, gate: Gate, rows: int, model: str) -> Split:
    """Cut the training rows once more, for the search: its newest part, as long as the hold-out but at most a third, validates.

    At most `rows` rows are fitted (the newest), and at most so many validate (evenly spread).
    """
    cut = _validation_cut(train, gate, model)
    return Split(cut.cutoff, cut.seen_until, cut.train.tail(rows).reset_index(drop=True), thin(cut.holdout, rows))


def thin(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """At most so many rows, evenly spread over the order they are in."""
    if len(frame) > rows:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, rows).round().astype(int)]
    return frame.reset_index(drop=True)


def _validation_cut(train: pd.DataFrame, gate: Gate, model: str) -> Split:
    most = max(1, round(len(train) * VALIDATION_SHARE))
    if gate.holdout_days:
        start = _start_of_last(train, gate.holdout_days)
        return _at(train, max(start, _time_of_newest(train, most)), model)
    return _at(train, _time_of_newest(train, min(most, round(len(train) * gate.holdout_share / (1 - gate.holdout_share)))), model)


def _start_of_last(frame: pd.DataFrame, days: float) -> pd.Timestamp:
    newest: pd.Timestamp = frame["event_time"].max()
    return newest.normalize() + pd.Timedelta(days=1) - pd.Timedelta(days=days)


def _time_of_newest(frame: pd.DataFrame, count: int) -> pd.Timestamp:
    """Time from which the newest `count` rows begin; rows of one moment stay together, and the oldest moment always trains."""
    times = frame["event_time"]
    start: pd.Timestamp = times.iloc[-max(1, count)]
    later = times[times > times.iloc[0]]
    return later.iloc[0] if len(later) and start == times.iloc[0] else start


def _at(frame: pd.DataFrame, start: pd.Timestamp, model: str) -> Split:
    newer = (frame["event_time"] >= start).to_numpy()
    train, holdout = frame[~newer], frame[newer]
    if train.empty or holdout.empty:
        found = f"of {len(frame):,} rows with a known label, {len(train):,} would train and {len(holdout):,} would judge"
        raise TrainingError(model, found, "Ingest more batches, or set gate.holdout_days or gate.holdout_share in its model.toml so that both parts have rows.")
    return Split(_utc(train["event_time"].iloc[-1]), _utc(frame["event_time"].iloc[-1]), train.reset_index(drop=True), holdout.reset_index(drop=True))


def _utc(moment: pd.Timestamp) -> datetime:
    """Up to the next microsecond, so that a row of this moment is never later than it."""
    return moment.ceil("us").to_pydatetime().replace(tzinfo=UTC)
