"""How many minutes will a flight be in the air? What the model sees, how it is built, what the search may vary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from expectations.flights.flight import PLAN, as_numbers, boosting_space, flight_features, one_hot

if TYPE_CHECKING:
    import optuna
    import pandas as pd

WEATHER = ["temp", "wind_dir", "wind_speed", "pressure"]
NUMBERS = [*PLAN, *WEATHER]


def features(raw: pd.DataFrame) -> pd.DataFrame:
    """The columns of a request row."""
    return flight_features(raw, WEATHER)


def build(params: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline of the family that `params` names. Categories are never null here, numbers may be."""
    own = {name: value for name, value in params.items() if name not in {"family", "seed"}}
    match params["family"]:
        case "boosting":
            model = HistGradientBoostingRegressor(**own, early_stopping=False, random_state=params["seed"])
            return Pipeline([("encode", as_numbers(NUMBERS)), ("model", model)])
        case "linear":
            return Pipeline([("encode", one_hot(NUMBERS)), ("model", Ridge(**own, random_state=params["seed"]))])
        case unknown:
            raise ValueError(f"flights_airtime knows the families boosting and linear, not {unknown!r}")


def space(trial: optuna.Trial) -> dict[str, Any]:
    """What the search may vary; trees cannot follow a temperature beyond what they have seen, a line can."""
    family = trial.suggest_categorical("family", ["boosting", "linear"])
    if family == "boosting":
        return {"family": family, **boosting_space(trial)}
    return {"family": family, "alpha": trial.suggest_float("linear_alpha", 0.01, 100.0, log=True)}
