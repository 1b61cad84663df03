"""What the author's `features()` makes of raw rows, and the checks that it cannot see what a request would not carry."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import LeakError, SpecError
from tasks.spec import DatasetSpec, ModelSpec

Features = Callable[[pd.DataFrame], pd.DataFrame]


def feature_rows(raw: pd.DataFrame, dataset: DatasetSpec, model: ModelSpec, features: Features) -> pd.DataFrame:
    """Columns that `features()` returns when it is shown nothing that is known only after the event.

    Raises:
        LeakError: it reads the label or a column listed under `outcome`.
        SpecError: it fails, or returns other rows than it was given.
    """
    columns_required(raw, dataset.outcome, dataset, "outcome")
    hidden = list(dict.fromkeys([*dataset.outcome, model.label.column]))
    try:
        given = features(raw.drop(columns=hidden, errors="ignore"))
    except Exception as err:  # whatever an author's function raises is told by name
        if _works(features, raw):
            read = [name for name in hidden if not _works(features, raw.drop(columns=name, errors="ignore"))]
            raise LeakError(model.name, ", ".join(read or hidden), dataset.name) from err
        raise SpecError(_file(model), [f"features() failed: {type(err).__name__}: {err}"]) from err
    if not isinstance(given, pd.DataFrame) or not given.index.equals(raw.index):
        raise SpecError(_file(model), ["features() must return a DataFrame with the rows and the index that it was given"])
    return given


def typed(given: pd.DataFrame, model: ModelSpec) -> pd.DataFrame:
    """The contract's columns in its order and types. Infinite numbers become NaN, because a request cannot say them.

    Raises:
        SpecError: a column is missing, or holds what is not of its type.
    """
    if missing := [name for name in model.features if name not in given]:
        raise SpecError(_file(model), [f"features() returns no column {name!r}, which model.toml lists" for name in missing])
    try:
        frame = model.contract.frame(given)
    except (ValueError, TypeError) as err:
        wrong = [name for name, feature in model.features.items() if feature.type != "category" and not _numeric(given[name])]
        raise SpecError(
            _file(model), [f"features() gives {name!r} values that are no {model.features[name].type}: {err}" for name in wrong] or [str(err)]
        ) from err
    numbers = [name for name, feature in model.features.items() if feature.type != "category"]
    infinite = [name for name in numbers if np.isinf(frame[name].to_numpy()).any()]
    return frame.assign(**{name: frame[name].replace([np.inf, -np.inf], np.nan) for name in infinite})


def refuse_look_ahead(given: pd.DataFrame, raw: pd.DataFrame, dataset: DatasetSpec, model: ModelSpec, features: Features) -> None:
    """The features of the older half of the rows must be the same when the newer half does not exist yet.

    Raises:
        SpecError: names the columns that look into the future or at the batch as a whole; a request could not have them so.
    """
    older = len(raw) // 2
    if not older:
        return
    alone, together = (typed(frame, model) for frame in (feature_rows(raw.iloc[:older], dataset, model, features), given.iloc[:older]))
    found = "gives other values for the same rows when later rows are there as well: it looks ahead, or at the batch as a whole"
    changed = [name for name in model.features if not _same(alone[name], together[name])]
    if changed:
        raise SpecError(_file(model), [f"features() column {name!r} {found}" for name in changed])


def columns_required(raw: pd.DataFrame, columns: Sequence[str], dataset: DatasetSpec, key: str) -> None:
    """Raise SpecError when the batches lack columns that a key of dataset.toml names."""
    if missing := [column for column in columns if column not in raw]:
        have = ", ".join(map(str, raw.columns[:20])) + (", …" if len(raw.columns) > 20 else "")
        raise SpecError(
            dataset.folder / "dataset.toml", [f"{key} names {column!r}, which is no column of its batches (they have: {have})" for column in missing]
        )


def _file(model: ModelSpec) -> str:
    return str(model.folder / "pipeline.py")


def _works(features: Features, raw: pd.DataFrame) -> bool:
    try:
        features(raw)
    except Exception:  # noqa: BLE001  # an author's function may raise anything; only whether it works is asked here
        return False
    return True


def _numeric(column: "pd.Series[Any]") -> bool:
    try:
        column.astype("float64")
    except (ValueError, TypeError):
        return False
    return True


def _same(left: "pd.Series[Any]", right: "pd.Series[Any]") -> bool:
    if left.dtype == object:
        return bool((left.to_numpy() == right.to_numpy()).all())
    return bool(np.allclose(left, right, rtol=1e-9, atol=0.0, equal_nan=True))
