"""Fitting one pipeline and asking it for scores. One thread: sums in another order are other sums, and another model."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract
from tasks.spec import ModelSpec
from tasks.training.baselines import SIMPLE, simple
from tasks.training.metrics import Array

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def fit(train: pd.DataFrame, spec: ModelSpec, pipeline: ModuleType, params: dict[str, Any]) -> "Pipeline":
    """Build the family that `params` names and fit it on the rows. Raises whatever the author's pipeline raises."""
    simplest = params["family"] == SIMPLE
    built: Pipeline = simple(spec.contract, train, params["seed"]) if simplest else pipeline.build(params)
    with _one_thread():
        built.fit(train[list(spec.features)], target(train["label"], spec.contract))
    return built


def target(labels: "pd.Series[Any]", contract: Contract) -> Array:
    """Labels as estimators want them: whole numbers, numbers, or text."""
    return labels.to_numpy({"binary": "int64", "regression": "float64", "multiclass": "object"}[contract.task])


def raw_scores(fitted: "Pipeline", frame: pd.DataFrame, contract: Contract) -> Array:
    """Scores straight from scikit-learn: (n,), or (n, k) in the order of `contract.classes` with 0 for a class it never saw."""
    columns = frame[list(contract.features)]
    with _one_thread():
        if contract.task == "regression":
            return np.asarray(fitted.predict(columns), "float64").reshape(-1)
        found = np.asarray(fitted.predict_proba(columns), "float64")
    names = contract.classes if contract.task == "multiclass" else (0, 1)
    known = list(fitted.classes_)
    ordered = np.column_stack([found[:, known.index(name)] if name in known else np.zeros(len(found)) for name in names])
    return ordered if contract.task == "multiclass" else ordered[:, 1]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Estimators' own threads off, and silence about convergence: the gate says whether a fit is good enough."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
