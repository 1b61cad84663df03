"""How many minutes will a flight be in the air? What the model sees, how it is built, what the search may vary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

if TYPE_CHECKING:
    import optuna

CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = [
    "departure_minute",
    "weekday",
    "scheduled_minutes",
    "distance",
    "plane_age",
    "plane_seats",
    "temp",
    "wind_dir",
    "wind_speed",
    "pressure",
]


def features(raw: pd.DataFrame) -> pd.DataFrame:
    """What is known when a flight is due to leave: its plan, its plane, and the weather one hour before."""
    departure = raw["scheduled"].dt.hour * 60 + raw["scheduled"].dt.minute
    arrival = raw["sched_arr_time"] // 100 * 60 + raw["sched_arr_time"] % 100
    plan = raw[[*CATEGORIES, "distance", "plane_seats"]]
    weather = raw[["temp", "wind_dir", "wind_speed", "pressure"]]
    derived = {
        "departure_minute": departure,
        "weekday": raw["scheduled"].dt.weekday,
        "scheduled_minutes": (arrival - departure) % 1440,  # on the two airports' clocks: zones are part of it
        "plane_age": raw["scheduled"].dt.year - raw["plane_year"],
    }
    frame = pd.concat([plan, weather, pd.DataFrame(derived, index=raw.index)], axis=1)[[*CATEGORIES, *NUMBERS]]
    # The served model reads float32. Training on what it will read keeps both on the same side of every split.
    return frame.astype(dict.fromkeys(NUMBERS, "float32")).astype(dict.fromkeys(NUMBERS, "float64"))


def build(params: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline of the family that `params` names. Categories are never null here, numbers may be."""
    seed = params.get("seed", 0)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=True)
    match params["family"]:
        case "boosting":
            encode = [("categories", ordinal, CATEGORIES), ("numbers", "passthrough", NUMBERS)]
            model = HistGradientBoostingRegressor(
                max_iter=params.get("trees", 100),
                max_leaf_nodes=params.get("leaves", 31),
                learning_rate=params.get("learning_rate", 0.1),
                min_samples_leaf=params.get("leaf_rows", 50),
                l2_regularization=params.get("l2", 1.0),
                early_stopping=False,
                random_state=seed,
            )
        case "forest":
            encode = [("categories", ordinal, CATEGORIES), ("numbers", SimpleImputer(strategy="median"), NUMBERS)]
            model = ExtraTreesRegressor(
                n_estimators=params.get("trees", 20),
                max_depth=params.get("depth", 14),
                min_samples_leaf=params.get("leaf_rows", 10),
                max_features=params.get("share", 0.6),
                n_jobs=1,
                random_state=seed,
            )
        case "linear":
            scaled = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
            encode = [("categories", one_hot, CATEGORIES), ("numbers", scaled, NUMBERS)]
            model = Ridge(alpha=params.get("alpha", 1.0), random_state=seed)
        case unknown:
            raise ValueError(f"flights_airtime knows the families boosting, forest and linear, not {unknown!r}")
    return Pipeline([("encode", ColumnTransformer(encode)), ("model", model)])


def space(trial: optuna.Trial) -> dict[str, Any]:
    """What the search may vary; every draw fits 30,000 rows in about a second on one thread."""
    family = trial.suggest_categorical("family", ["boosting", "linear"])
    if family == "boosting":
        return {
            "family": family,
            "trees": trial.suggest_int("boosting_trees", 60, 160, step=20),
            "leaves": trial.suggest_int("boosting_leaves", 15, 47, step=8),
            "learning_rate": trial.suggest_float("boosting_learning_rate", 0.04, 0.2, log=True),
            "leaf_rows": trial.suggest_int("boosting_leaf_rows", 20, 120, step=20),
            "l2": trial.suggest_float("boosting_l2", 0.1, 10.0, log=True),
        }
    return {"family": family, "alpha": trial.suggest_float("linear_alpha", 0.01, 100.0, log=True)}
