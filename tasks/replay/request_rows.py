"""From raw rows to request rows: evenly sampled over the period, in event order."""

import numpy as np
import orjson
import pandas as pd

from bentos.runtime import card
from bentos.runtime.contract import Contract


def sample(raw: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, evenly spread over the rows as they are ordered in time."""
    if len(raw) <= count:
        return raw
    return raw.iloc[np.linspace(0, len(raw) - 1, count).round().astype(int)]


def request_rows(features: pd.DataFrame, contract: Contract, event_time: "pd.Series[pd.Timestamp]") -> list[bytes]:
    """One JSON object per row: what a caller would send, with its event time."""
    rows = card.request_rows(contract.frame(features), contract)
    times = event_time.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [orjson.dumps(row | {"event_time": time}) for row, time in zip(rows, times, strict=True)]


def due_seconds(event_time: "pd.Series[pd.Timestamp]", days_per_second: float) -> list[float]:
    """When each row is due, in seconds from the first; empty when the data's clock is not to be kept (0)."""
    if not days_per_second:
        return []
    since = event_time - event_time.iloc[0]
    return [float(seconds) for seconds in since.dt.total_seconds() / 86_400 / days_per_second]
