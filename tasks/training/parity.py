"""Do two forms of one model give the same scores, on ordinary rows and on the odd ones that requests may hold?"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract, Feature
from bentos.runtime.rows import LIMIT, LONGEST
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
WHOLE = 2**24 + 1  # the first whole number that float32 cannot hold
HUGE = {"at a whole number beyond float32": WHOLE, "at one below zero": -WHOLE, "at the largest number": LIMIT, "at the smallest number": -LIMIT}
STRANGE = {"unseen": "never seen before", "not ASCII": "Tromsø · 東京 ✈", "as long as may be": "x" * LONGEST}


def parity_of(expected: Array, found: Array, task: str, hard: "pd.Index[str] | None" = None) -> tuple[bool, str]:
    """Whether scores are the same for serving; how far they differ, in units of the score's scale, and what is allowed.

    The scale is 1 for probabilities; for numbers it is the spread of the ordinary ones, or their own size where that is greater.
    A row that has no finite score in both forms is the same in both: the service refuses it.

    Args:
        hard: What is odd about the last rows; the others are ordinary.
    """
    odd = [] if hard is None else list(hard)
    ordinary = expected[: len(expected) - len(odd)]
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.ones(len(expected)) if task != "regression" else np.maximum(np.abs(expected), ordinary.std() or 1.0)
        gaps = np.abs(found - expected).reshape(len(expected), -1).max(axis=1) / scale
    gaps[~_finite(expected) & ~_finite(found)] = 0
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    off, worst = float((gaps > CLOSE).mean()), int(gaps.argmax()) - len(ordinary)
    same = bool(off <= MOST_OFF and gaps.max() <= FAR)
    where = f" with {odd[worst]}" if not same and worst >= 0 else ""
    return same, f"largest difference {gaps.max():.2g}{where}, allowed {FAR:g}; {off:.2%} of the rows off by more than {CLOSE:g}, allowed {MOST_OFF:.1%}"


def hard_rows(train: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Rows such as requests may hold and the hold-out may not; the index says what is odd.

    Each feature in turn is missing, unseen, at its ends, beyond them, and at what its type allows at most, while the others are as in training.
    """
    base = train[list(contract.features)].iloc[np.linspace(0, len(train) - 1, BASE_ROWS).round().astype(int)]
    rows = {"nothing odd": base}
    for name, feature in contract.features.items():
        for what, value in _odd_values(train[name], feature):
            rows[f"{name} {what}"] = base.assign(**{name: value})
    return pd.concat({what: frame.reset_index(drop=True) for what, frame in rows.items()}).droplevel(1)


def must_be_finite(hard: pd.DataFrame) -> Array:
    """Which hard rows need a score: all but those with a number so large that an exponential may overflow."""
    return ~np.array([what.endswith(tuple(HUGE)) for what in hard.index])


def _finite(scores: Array) -> Array:
    return np.asarray(np.isfinite(scores).reshape(len(scores), -1).all(axis=1))


def expected_of(fitted: "Pipeline", hard: pd.DataFrame, spec: ModelSpec) -> Array:
    """scikit-learn's own scores of the hard rows.

    Raises:
        TrainingError: it fails on some, and so would the service on a request; tells on which.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # at the largest numbers; a score that is none is judged by the caller
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
        lacking = [(f"{value!r}, which training never held", value) for value in feature.closed if not (column == value).any()]
        return [*([("missing", "")] if feature.nullable or (column == "").any() else []), *(lacking if feature.closed else STRANGE.items())]
    missing: list[tuple[str, Any]] = [("missing", np.nan)] if feature.nullable or column.isna().any() else []
    if feature.type == "boolean":
        return [*missing, ("true", 1.0), ("false", 0.0)]
    tiny = [("so small that float32 takes it for zero", 1e-300)] if feature.type == "number" else []
    return [*missing, *_ends(column), ("at minus zero", -0.0), *tiny, *HUGE.items()]


def _ends(column: "pd.Series[Any]") -> list[tuple[str, Any]]:
    """The ends of what training held, and beyond them; none when it held nothing."""
    if not column.notna().any():
        return []
    low, high = column.min(), column.max()
    beyond = high - low + 1
    return [("at its low end", low), ("at its high end", high), ("below its range", low - beyond), ("above its range", high + beyond)]
