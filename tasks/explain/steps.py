"""What each step of a fitted pipeline makes of one row."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

Value = float | str | bool | None


class Step(BaseModel):
    """A step's name, the class that does it, and the row after it; of the estimator its raw outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    values: dict[str, Value]


def replay(pipeline: Any, frame: pd.DataFrame) -> tuple[list[Step], Any]:
    """The steps before the estimator, and the row as the estimator gets it. Pipelines inside a ColumnTransformer are followed as well."""
    found: list[Step] = []
    data: Any = frame
    for place, (name, step) in enumerate(pipeline.steps[:-1], 1):
        if step is None or step == "passthrough":
            continue
        found += _inner(name, step, data)
        data = step.transform(data)
        found.append(Step(name=name, kind=type(step).__name__, values=_values(pipeline[:place], data)))
    return found, data


def last(pipeline: Any, data: Any) -> Step:
    """What the estimator itself gives for the row that reaches it."""
    name, estimator = pipeline.steps[-1]
    values: dict[str, Value] = {}
    for method in ("decision_function", "predict_proba", "predict"):
        if hasattr(estimator, method):
            outputs = np.ravel(getattr(estimator, method)(data))
            values |= {method if len(outputs) == 1 else f"{method}[{place}]": _plain(value) for place, value in enumerate(outputs)}
    return Step(name=name, kind=type(estimator).__name__, values=values)


def names_of(steps: Any, width: int) -> list[str]:
    """Names of the columns that a pipeline of steps gives; numbers when it does not know them."""
    try:
        names = [str(name) for name in steps.get_feature_names_out()]
    except Exception:  # noqa: BLE001  # an author's own step need not have names, and says so in many ways
        names = []
    return names if len(names) == width else [str(place) for place in range(width)]


def dense(data: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """The one row as an array."""
    return np.ravel(data.toarray() if hasattr(data, "toarray") else np.asarray(data))


def _inner(name: str, step: Any, data: Any) -> Iterator[Step]:
    """The steps of pipelines inside a ColumnTransformer whose columns are named."""
    for part, inside, columns in getattr(step, "transformers_", ()):
        if hasattr(inside, "steps") and isinstance(data, pd.DataFrame) and all(isinstance(column, str) for column in columns):
            value: Any = data[list(columns)]
            for place, (inner, one) in enumerate(inside.steps, 1):
                if one is not None and one != "passthrough":
                    value = one.transform(value)
                    yield Step(name=f"{name}/{part}/{inner}", kind=type(one).__name__, values=_values(inside[:place], value))


def _values(steps: Any, data: Any) -> dict[str, Value]:
    row = dense(data)
    return dict(zip(names_of(steps, len(row)), map(_plain, row), strict=True))


def _plain(value: Any) -> Value:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value  # NaN is the one value that is not itself
