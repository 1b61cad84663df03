"""From raw rows to request rows: evenly sampled over the period, in event order."""

import numpy as np
import orjson
import pandas as pd

from bentos.runtime.contract import Contract


def sample(raw: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, evenly spread over the rows as they are ordered in time."""
    if len(raw) <= count:
        return raw
    return raw.iloc[np.linspace(0, len(raw) - 1, count).round().astype(int)]


def request_rows(features: pd.DataFrame, contract: Contract, event_time: pd.Series) -> list[bytes]:
    """One JSON object per row: typed as the contract says, nulls as null, with its event time."""
    columns: dict[str, list[object]] = {}
    for name, feature in contract.features.items():
        values = features[name].astype(object).where(features[name].notna(), None)
        convert = {"integer": int, "number": float, "boolean": bool, "category": str}[feature.type]
        columns[name] = [None if value is None else convert(value) for value in values]
    columns["event_time"] = list(event_time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    names = list(columns)
    return [orjson.dumps(dict(zip(names, values, strict=True))) for values in zip(*columns.values(), strict=True)]
