"""What can go wrong on purpose during a replay. The dataset's own `drills.py` says what that means for its rows."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import pandas as pd

from tasks.errors import UnknownNameError

Fault = Literal["none", "unit_change", "concept_change", "shuffled_labels"]
Drill = Literal["unit_change", "concept_change"]


def spoil(frame: pd.DataFrame, dataset: str, drill: Drill) -> pd.DataFrame:
    """The frame after the dataset's drill: `concept_change` gets raw rows, `unit_change` the features of requests.

    Raises:
        UnknownNameError: the dataset's folder has no such drill.
    """
    name = f"expectations.{dataset}.drills"
    drills = import_module(name) if find_spec(name) else None
    change: Callable[[pd.DataFrame], pd.DataFrame] | None = getattr(drills, drill, None)
    if change is None:
        known = [each for each in ("unit_change", "concept_change") if hasattr(drills, each)]
        raise UnknownNameError("drill", drill, known, f"expectations/{dataset}/drills.py")
    return change(frame.copy())
