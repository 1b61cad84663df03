"""How much each feature moved a score. Exact where the model is a sum; else by putting the training's ordinary value in its place."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from bentos.runtime.card import Score
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.scoring import Row, Scorer
from tasks.explain.steps import Value, dense, names_of

METHODS = {
    "linear": "coefficient x value of what reaches the model; with the intercept they add up to its raw output",
    "replacement": "score less the score with the feature at its ordinary training value (median, or most frequent); they need not add up",
    "none": "no reference rows were kept to compare with",
}


class Contribution(BaseModel):
    """What one feature (or for a linear model one encoded column) did. `reference` is what it was replaced by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: Value
    reference: Value = None
    amount: float


class Contributions(BaseModel):
    """The contributions to one score, the largest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["linear", "replacement", "none"]
    of: str
    intercept: float | None = None
    each: tuple[Contribution, ...] = ()


def contributions(scorer: Scorer, pipeline: Any, data: Any, row: Row, reference: pd.DataFrame | None) -> Contributions:
    """Contributions to the score of a row; of a multiclass model, to the score of the class that it predicted.

    Args:
        scorer: The training-side pipeline.
        data: The row as it reaches the estimator.
        reference: Kept training rows; None when there are none.
    """
    exact = _linear(pipeline, data, scorer.card.contract, scorer.decide(scorer.score_rows([row])[0]))
    if exact is not None:
        return exact
    if reference is None:
        return Contributions(method="none", of="score")
    return _replaced(scorer, row, reference)


def _linear(pipeline: Any, data: Any, contract: Contract, predicted: Any) -> Contributions | None:
    """Of a linear model, when its sum is what it says: a link or a scale of its own would make it another number."""
    estimator = pipeline.steps[-1][1]
    if not (hasattr(estimator, "coef_") and hasattr(estimator, "intercept_")):
        return None
    weights, bias = np.atleast_2d(np.asarray(estimator.coef_)), np.atleast_1d(np.asarray(estimator.intercept_))
    place = 0 if len(weights) == 1 else list(map(str, estimator.classes_)).index(str(predicted))
    values, known = dense(data).astype("float64"), contract.task == "regression"
    if weights.shape[1] != len(values):
        return None
    said = np.ravel(estimator.predict(data) if known else estimator.decision_function(data))
    parts, offset = weights[place] * values, float(bias[place % len(bias)])
    if not np.isclose(parts.sum() + offset, said[place % len(said)], rtol=1e-6, atol=1e-9):
        return None
    names = names_of(pipeline[:-1], len(values)) if len(pipeline.steps) > 1 else list(contract.features)
    each = [Contribution(name=n, value=float(v), amount=float(p)) for n, v, p in zip(names, values, parts, strict=True) if p]
    return Contributions(method="linear", of="predict" if known else "decision_function", intercept=offset, each=_sorted(each))


def _replaced(scorer: Scorer, row: Row, reference: pd.DataFrame) -> Contributions:
    contract = scorer.card.contract
    ordinary = {
        name: _ordinary(reference[name], feature) for name, feature in contract.logged.items() if name in reference
    }  # of the others it would be another person's
    given = scorer.score_rows([row])[0]
    of = "score" if not isinstance(given, list) else f"score of {scorer.decide(given)}"
    place = int(np.argmax(given))
    others = scorer.score_rows([{**row, name: value} for name, value in ordinary.items()])
    each = [
        Contribution(name=name, value=row.get(name), reference=value, amount=_one(given, place) - _one(other, place))
        for (name, value), other in zip(ordinary.items(), others, strict=True)
    ]
    return Contributions(method="replacement", of=of, each=_sorted(each))


def _ordinary(column: "pd.Series[Any]", feature: Feature) -> Any:
    """The most frequent category or truth, the middle number that training saw; null when it saw only nulls."""
    known = column[column != ""] if feature.type == "category" else column.dropna()
    if known.empty:
        return None
    if feature.type in {"category", "boolean"}:
        value = known.mode().iloc[0]
        return str(value) if feature.type == "category" else bool(value)
    return float(known.quantile(0.5, interpolation="nearest"))


def _one(score: Score, place: int) -> float:
    return score[place] if isinstance(score, list) else score


def _sorted(each: list[Contribution]) -> tuple[Contribution, ...]:
    return tuple(sorted(each, key=lambda one: -abs(one.amount)))
