"""The columns of rows that drift looks at: how each is compared, and what of it."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract

Series = pd.Series  # of numbers or of str, by the kind of the column
Kind = Literal["number", "category"]
PREDICTION = "prediction"
TOP = 20  # categories that count by themselves: the long tail of a hundred destinations "drifts" every time
OTHER = "other"


def kinds(contract: Contract) -> dict[str, Kind]:
    """How each column is compared, the prediction last. Features that the log does not hold as they were sent cannot be."""
    found: dict[str, Kind] = {name: "category" if feature.type == "category" else "number" for name, feature in contract.logged.items()}
    return found | {PREDICTION: "category" if contract.task == "multiclass" else "number"}


def comparable(rows: pd.DataFrame, contract: Contract) -> dict[str, Series]:
    """The columns that are compared, typed as `Contract.frame` does. Absent columns are null, and so are infinities and what is no number.

    A category that is null now and then is the category '', as the model sees it; one that is always null stays null.
    Where rows are marked `holdout`, the prediction is that of the marked ones.
    """
    held = rows[rows["holdout"].astype(bool)] if "holdout" in rows and rows["holdout"].any() else rows
    return {name: _typed(held if name == PREDICTION else rows, name, kind) for name, kind in kinds(contract).items()}


def merged(reference: Series, current: Series, kind: Kind) -> tuple[Series, Series]:
    """Both sides with all but the reference's most frequent categories called 'other'."""
    if kind == "number":
        return reference, current
    kept = set(reference.value_counts().index[:TOP])
    return reference.where(reference.isin(kept) | reference.isna(), OTHER), current.where(current.isin(kept) | current.isna(), OTHER)


def sampled(column: Series, rows: int, seed: int) -> Series:
    """At most so many rows of a column, drawn at random."""
    return column if len(column) <= rows else column.sample(rows, random_state=seed)


def _typed(rows: pd.DataFrame, name: str, kind: Kind) -> Series:
    column = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
    if kind == "number":
        numbers: Series = pd.to_numeric(column, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)
        return numbers
    text: Any = column.map(str, na_action="ignore").astype(object)
    missing: Any = None if name == PREDICTION or column.isna().all() else ""
    filled: Series = text.where(column.notna(), missing)
    return filled
