"""What both models of flights share: the columns of a flight, their encodings, and the budget of a boosted model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

if TYPE_CHECKING:
    import optuna

CATEGORIES = ["carrier", "origin", "dest"]
PLAN = ["departure_minute", "weekday", "scheduled_minutes", "distance", "plane_age", "plane_seats"]


def flight_features(raw: pd.DataFrame, weather: list[str]) -> pd.DataFrame:
    """What is known when a flight is due to leave: its plan, its plane, and these columns of the weather one hour before."""
    departure = raw["scheduled"].dt.hour * 60 + raw["scheduled"].dt.minute
    arrival = raw["sched_arr_time"] // 100 * 60 + raw["sched_arr_time"] % 100
    derived = {
        "departure_minute": departure,
        "weekday": raw["scheduled"].dt.weekday,
        "scheduled_minutes": (arrival - departure) % 1440,  # on the two airports' clocks: zones are part of it
        "plane_age": raw["scheduled"].dt.year - raw["plane_year"],
    }
    numbers = [*PLAN, *weather]
    frame = raw.assign(**derived)[[*CATEGORIES, *numbers]]
    # The served model reads float32. Training on what it will read keeps both on the same side of every split.
    return frame.astype(dict.fromkeys(numbers, "float32")).astype(dict.fromkeys(numbers, "float64"))


# The encodings name their columns instead of `remainder`, so that a column the spec does not know is never used by accident.


def as_numbers(numbers: list[str], fill: bool = False) -> ColumnTransformer:
    """Categories as numbers, for trees; missing numbers stay missing unless `fill`."""
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("categories", ordinal, CATEGORIES), ("numbers", SimpleImputer(strategy="median") if fill else "passthrough", numbers)])


def one_hot(numbers: list[str]) -> ColumnTransformer:
    """A column per category and scaled numbers, for linear models."""
    scaled = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    return ColumnTransformer([("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES), ("numbers", scaled, numbers)])


def boosting_space(trial: optuna.Trial) -> dict[str, Any]:
    """Parameters of a HistGradientBoosting model that fits 30,000 rows in about a second on one thread."""
    return {
        "max_iter": trial.suggest_int("boosting_trees", 60, 160, step=20),
        "max_leaf_nodes": trial.suggest_int("boosting_leaves", 15, 47, step=8),
        "learning_rate": trial.suggest_float("boosting_learning_rate", 0.04, 0.2, log=True),
        "min_samples_leaf": trial.suggest_int("boosting_leaf_rows", 20, 120, step=20),
        "l2_regularization": trial.suggest_float("boosting_l2", 0.1, 10.0, log=True),
    }
