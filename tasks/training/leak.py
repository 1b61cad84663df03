"""The leak check: a feature that explains the label almost fully by itself is more likely its echo than its cause."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.spec import ModelSpec
from tasks.training.metrics import Array, Measure
from tasks.training.split import thin

MOST_ROWS = 20_000  # of each part; a copy of the label shows on far fewer
LEAVES = 256  # a step function of so many steps follows a smooth copy of a number to one part in 65,000 of its variance
BOUNDS = {"binary": 0.995, "multiclass": 0.995, "regression": 0.999}
NAMES = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "squared correlation, of values or of ranks"}


@dataclass(frozen=True)
class Leak:
    """A feature that predicts the hold-out labels almost fully by itself."""

    feature: str
    measure: str
    value: float

    def __str__(self) -> str:
        """A sentence for the gate's reasons."""
        return (
            f"feature {self.feature!r} alone explains the label of the hold-out almost fully ({self.measure} {self.value:.4f}), as a leak would; "
            "if it is known when a request is made, add it to gate.trusted, else remove it"
        )


def find_leaks(train: pd.DataFrame, holdout: pd.DataFrame, spec: ModelSpec) -> tuple[Leak, ...]:
    """Fit one small tree per untrusted feature on the older rows and score it on the newer ones."""
    train, holdout = thin(train, MOST_ROWS), thin(holdout, MOST_ROWS)
    measure = Measure.of(spec)
    known, later = measure.codes(train["label"]), measure.codes(holdout["label"])
    found = []
    for name in spec.features:
        if name in spec.gate.trusted:
            continue
        value = _explained(*_as_numbers(train[name], holdout[name], known), known, later, spec)
        if value >= BOUNDS[spec.task]:
            found.append(Leak(name, NAMES[spec.task], value))
    return tuple(found)


def _explained(column: Array, later_column: Array, known: Array, later: Array, spec: ModelSpec) -> float:
    """AUC, accuracy or explained variance of one feature on the newer rows; 0 when it cannot be said."""
    from scipy.stats import rankdata
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if len(np.unique(known)) < 2 or len(np.unique(later)) < 2:
        return 0.0
    tree = (DecisionTreeRegressor if spec.task == "regression" else DecisionTreeClassifier)(max_leaf_nodes=LEAVES, min_samples_leaf=3, random_state=0)
    tree.fit(column.reshape(-1, 1), known)
    if spec.task == "binary":
        return Measure("roc_auc", "binary").value(later, tree.predict_proba(later_column.reshape(-1, 1))[:, 1])
    said = tree.predict(later_column.reshape(-1, 1))
    if spec.task == "multiclass":
        errors, usual = (said != later).mean(), 1 - np.bincount(later).max() / len(later)
        return float(1 - errors) if errors <= 0.05 * usual else 0.0  # where one class is nearly all, a constant is nearly right as well
    variance = float(1 - np.mean((said - later) ** 2) / np.var(later))
    return max(variance, _squared_correlation(later_column, later), _squared_correlation(rankdata(later_column, nan_policy="omit"), rankdata(later)))


def _squared_correlation(column: Array, later: Array) -> float:
    there = ~np.isnan(column)
    if there.mean() < 0.5 or np.ptp(column[there]) == 0 or np.ptp(later[there]) == 0:
        return 0.0
    return float(np.corrcoef(column[there], later[there])[0, 1] ** 2)


def _as_numbers(column: "pd.Series[Any]", later: "pd.Series[Any]", known: Array) -> tuple[Array, Array]:
    """Numbers as they are; categories as the mean label (or class number) they had in training, NaN when they are new."""
    if column.dtype != object:
        return column.to_numpy("float64"), later.to_numpy("float64")
    means = pd.Series(known).groupby(column.to_numpy()).mean()
    return column.map(means).to_numpy("float64"), later.map(means).to_numpy("float64")
