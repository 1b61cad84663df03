"""The two models that every candidate must face: one that knows only the labels, and a linear one. Both come from the contract."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract
from tasks.training.metrics import Array, Measure

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SIMPLE = "simple"  # family of the linear model; no author's family may be named so
MOST_CATEGORIES = 50  # of a column, the most frequent ones; keeps a column of ids from making thousands of columns


def trivial(measure: Measure, train: "pd.Series[Any]", count: int) -> Array:
    """Scores for `count` rows that use no feature: the share of true labels or of each class, the median (mae) or the mean."""
    codes = measure.codes(train)
    if measure.task == "multiclass":
        return np.tile(np.bincount(codes, minlength=len(measure.classes)) / len(codes), (count, 1))
    return np.full(count, np.median(codes) if measure.metric == "mae" else codes.mean())


def simple(contract: Contract, train: pd.DataFrame, seed: int) -> "Pipeline":
    """An unfitted linear pipeline: categories one-hot, numbers filled with the median and scaled, logistic or ridge regression."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    categories = [name for name, feature in contract.features.items() if feature.type == "category"]
    numbers = [name for name in contract.features if name not in categories]
    known = [sorted(train[name].value_counts().index[:MOST_CATEGORIES]) for name in categories]
    filled = Pipeline([("fill", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())])
    parts = [("categories", OneHotEncoder(categories=known, handle_unknown="ignore"), categories), ("numbers", filled, numbers)]
    linear = Ridge(random_state=seed) if contract.task == "regression" else LogisticRegression(max_iter=1000, random_state=seed)
    return Pipeline([("encode", ColumnTransformer([part for part in parts if part[2]])), ("model", linear)])
