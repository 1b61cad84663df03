"""How big is big enough: gate, search and monitoring for the rows that there are. Starting points that the files say how to change."""

from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Task
from tasks.spec import Metric
from tasks.training.metrics import MIN_BLOCKS

HOLDOUT_SHARE = 0.2
DAYS_OF_HOLDOUT = 2 * MIN_BLOCKS  # with fewer days the gate could hardly draw from them, and with fewer than MIN_BLOCKS it refuses
SPAN_OF_WINDOW = (("day", 1.0), ("week", 7.0), ("month", 30.0))
WINDOW_ROWS = 500  # rows that a monitoring window should hold for a verdict that means something


@dataclass(frozen=True)
class Sizes:
    """Numbers of [search], [gate] and [monitoring]; the names are those of `tasks.spec`."""

    metric: Metric
    trials: int
    search_rows: int
    min_effect: float
    block: str
    gate_rows: int
    slice_min_rows: int
    slice_tolerance: float
    window: str
    window_rows: int
    min_labels: int
    sample: int
    decay: float


def sizes(label: "pd.Series[Any]", task: Task, features: int, times: "pd.Series[pd.Timestamp] | None") -> Sizes:
    """Suited to the labelled rows, the number of features and the times of the rows (None: no time column).

    Effects are in units of the metric; for a regression they are shares of what the trivial model (the median) gets wrong.
    """
    known = label.dropna()
    rows = len(known)
    unit = {"binary": 1.0, "multiclass": 2.0, "regression": _trivial_error(known) if task == "regression" else 1.0}[task]
    window, window_rows = _window(rows, times)
    return Sizes(
        metric={"binary": "roc_auc", "multiclass": "log_loss", "regression": "mae"}[task],  # type: ignore[arg-type]  # each is a Metric
        trials=8 if rows * features > 2_000_000 or features > 40 else 12,
        search_rows=_within(rows, 50, 30_000),
        min_effect=_rounded(0.002 * unit),
        block="day" if times is not None and _holdout_days(times) >= DAYS_OF_HOLDOUT else "row",
        gate_rows=_within(rows * HOLDOUT_SHARE / 2, 10, 500),
        slice_min_rows=_within(rows * HOLDOUT_SHARE / 5, 50, 500),
        slice_tolerance=_rounded(0.03 * unit),
        window=window,
        window_rows=window_rows,
        min_labels=_within(window_rows / 2, 30, 500),
        sample=_within(rows, 200, 20_000),
        decay=_rounded(0.05 * unit),
    )


def _holdout_days(times: "pd.Series[pd.Timestamp]") -> int:
    return int(times.sort_values().tail(round(len(times) * HOLDOUT_SHARE)).dt.floor("D").nunique())


def _window(rows: int, times: "pd.Series[pd.Timestamp] | None") -> tuple[str, int]:
    """The shortest window that would have held enough rows, and half of what it would have held."""
    if times is None:
        return "day", _within(rows / 20, 30, 2_000)
    days = max(1.0, (times.max() - times.min()) / pd.Timedelta(days=1))
    name, span = next(((name, span) for name, span in SPAN_OF_WINDOW if rows * span / days >= WINDOW_ROWS), SPAN_OF_WINDOW[-1])
    return name, _within(rows * span / days / 2, 30, 2_000)


def _trivial_error(known: "pd.Series[Any]") -> float:
    numbers = known.astype("float64")
    return float(np.abs(numbers - numbers.median()).mean())


def _within(value: float, low: int, high: int) -> int:
    return int(min(max(value, low), high))


def _rounded(value: float) -> float:
    """To two significant digits: more would pretend a precision that a starting point has not."""
    return round(value, 1 - floor(log10(value))) if value > 0 else 0.0
