"""Do two forms of one model give the same scores, on ordinary rows and on the odd ones that requests may hold?"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract, Feature
from tasks.errors import TrainingError
from tasks.spec import ModelSpec
from tasks.training.fit import raw_scores
from tasks.training.metrics import Array

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# ONNX computes in float32, whose rounding is about 1e-6 of a score. A number that lies on a split's threshold may fall to its other
# side; that moves few rows, and less than any gain that a gate can see. A conversion that is wrong moves most rows, and far.
CLOSE, FAR, MOST_OFF = 1e-4, 1e-2, 0.001
BASE_ROWS = 5


def parity_of(expected: Array, found: Array, task: str) -> tuple[bool, str]:
    """Whether scores are the same for serving, and how far they differ, in units of the score's scale.

    The scale is 1 for probabilities; for numbers it is their spread, or their own size where that is greater.
    """
    scale = np.ones(len(expected)) if task != "regression" else np.maximum(np.abs(expected), expected.std() or 1.0)
    gaps = np.abs(found - expected).reshape(len(expected), -1).max(axis=1) / scale
    off = float((gaps > CLOSE).mean())
    same = bool(np.isfinite(gaps).all() and off <= MOST_OFF and gaps.max() <= FAR)
    return same, f"largest difference {gaps.max():.2g}, {off:.2%} of the rows off by more than {CLOSE:g}"


def hard_rows(train: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Rows such as requests may hold and the hold-out may not: each feature missing, unseen, at its ends and beyond them. The index says what is odd."""
    base = train[list(contract.features)].iloc[np.linspace(0, len(train) - 1, BASE_ROWS).round().astype(int)]
    rows = {"nothing odd": base}
    for name, feature in contract.features.items():
        for what, value in _odd_values(train[name], feature):
            rows[f"{name} {what}"] = base.assign(**{name: value})
    return pd.concat({what: frame.reset_index(drop=True) for what, frame in rows.items()}).droplevel(1)


def expected_of(fitted: "Pipeline", hard: pd.DataFrame, spec: ModelSpec) -> Array:
    """scikit-learn's own scores of the hard rows.

    Raises:
        TrainingError: it fails on some, and so would the service on a request; tells on which.
    """
    try:
        return raw_scores(fitted, hard, spec.contract)
    except Exception as err:  # whatever an author's pipeline raises is told with the kind of row that it fails on
        what = next((name for name in hard.index.unique() if not _scores(fitted, hard.loc[[name]], spec)), "several odd things at once")
        remedy = "Make build() in its pipeline.py take nulls of nullable features, and categories it has not seen (handle_unknown)."
        raise TrainingError(spec.name, f"its pipeline fails on a request with {what} ({type(err).__name__}: {err})", remedy) from err


def _scores(fitted: "Pipeline", rows: pd.DataFrame, spec: ModelSpec) -> bool:
    try:
        raw_scores(fitted, rows, spec.contract)
    except Exception:  # noqa: BLE001  # asked only whether it works; the first error is told by the caller
        return False
    return True


def _odd_values(column: "pd.Series[Any]", feature: Feature) -> list[tuple[str, Any]]:
    if feature.type == "category":
        missing = [("missing", "")] if feature.nullable or (column == "").any() else []
        return missing if feature.closed else [*missing, ("unseen", "never seen before")]
    found: list[tuple[str, Any]] = [("missing", np.nan)] if feature.nullable or column.isna().any() else []
    if column.notna().any():
        low, high = column.min(), column.max()
        found += [("at its low end", low), ("at its high end", high)]
        found += [] if feature.type == "boolean" else [("below its range", low - (high - low) - 1), ("above its range", high + (high - low) + 1)]
    return found
