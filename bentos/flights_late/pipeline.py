"""Will a flight arrive more than 15 minutes late? What the model sees, how it is built, what the search may vary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from expectations.flights.flight import PLAN, as_numbers, boosting_space, flight_features

if TYPE_CHECKING:
    import optuna
    import pandas as pd

WEATHER = ["temp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
NUMBERS = [*PLAN, *WEATHER]


def features(raw: pd.DataFrame) -> pd.DataFrame:
    """The columns of a request row."""
    return flight_features(raw, WEATHER)


def build(params: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline of the family that `params` names. Categories are never null here, numbers may be."""
    own = {name: value for name, value in params.items() if name not in {"family", "seed"}}
    match params["family"]:
        case "boosting":
            model = HistGradientBoostingClassifier(**own, early_stopping=False, random_state=params["seed"])
            return Pipeline([("encode", as_numbers(NUMBERS)), ("model", model)])
        case "forest":
            model = ExtraTreesClassifier(**own, n_jobs=1, random_state=params["seed"])
            return Pipeline([("encode", as_numbers(NUMBERS, fill=True)), ("model", model)])
        case unknown:
            raise ValueError(f"flights_late knows the families boosting and forest, not {unknown!r}")


def space(trial: optuna.Trial) -> dict[str, Any]:
    """What the search may vary."""
    family = trial.suggest_categorical("family", ["boosting", "forest"])
    if family == "boosting":
        return {"family": family, **boosting_space(trial), "max_features": trial.suggest_float("boosting_share", 0.3, 1.0, step=0.1)}
    return {
        "family": family,
        "n_estimators": trial.suggest_int("forest_trees", 20, 40, step=10),
        "max_depth": trial.suggest_int("forest_depth", 10, 16, step=2),
        "min_samples_leaf": trial.suggest_int("forest_leaf_rows", 10, 40, step=10),
        "max_features": trial.suggest_float("forest_share", 0.4, 0.8, step=0.1),
    }
