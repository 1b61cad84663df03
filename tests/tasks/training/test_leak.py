"""The leak check names features that echo the label, and leaves honest ones alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bentos.runtime.contract import Feature
from tasks.spec import ModelSpec
from tasks.training.leak import find_leaks

Specs = Callable[..., ModelSpec]
Frames = Callable[..., pd.DataFrame]


def found(frame: pd.DataFrame, spec: ModelSpec) -> list[str]:
    return [leak.feature for leak in find_leaks(frame.iloc[:1000], frame.iloc[1000:], spec)]


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_honest_features_are_no_leak(spec: Specs, frame: Frames, task: str) -> None:
    assert found(frame(task), spec(task)) == []


@pytest.mark.parametrize(
    ("task", "kind", "copy"),
    [
        ("binary", "number", lambda y: 5 * y + np.random.default_rng(0).normal(scale=0.1, size=len(y))),
        ("binary", "category", lambda y: y.map({0.0: "kept", 1.0: "lost"}).astype(object)),
        ("regression", "number", lambda y: 3 * y - 5),
        ("regression", "number", lambda y: np.exp(y)),
        ("multiclass", "category", lambda y: y.str.upper()),
    ],
)
def test_a_copy_of_the_label_is_found_by_name_unless_it_is_trusted(spec: Specs, frame: Frames, task: str, kind: Any, copy: Callable[[Any], Any]) -> None:
    rows = frame(task).assign(copy=lambda f: copy(f["label"]))
    features = {"x": Feature(type="number"), "copy": Feature(type=kind)}

    leaks = find_leaks(rows.iloc[:1000], rows.iloc[1000:], spec(task, features=features))

    assert [leak.feature for leak in leaks] == ["copy"]
    assert "'copy' alone explains the label" in str(leaks[0])
    assert found(rows, spec(task, features=features, gate={"trusted": ("copy",)})) == []


def test_ids_and_constants_and_all_null_columns_are_no_leak(spec: Specs, frame: Frames) -> None:
    rows = frame().assign(id=lambda f: [f"id{i}" for i in f.index], constant=1.0, empty=np.nan)
    features = {"id": Feature(type="category"), "constant": Feature(type="number"), "empty": Feature(type="number", nullable=True)}

    assert found(rows, spec(features=features)) == []
    assert found(rows.assign(label=rows["x"]), spec("regression", features=features)) == []


def test_where_one_class_is_nearly_all_guessing_it_is_no_leak(spec: Specs, frame: Frames) -> None:
    rows = frame("multiclass").assign(label=lambda f: np.where(f.index % 400 == 0, "b", "a").astype(object))

    assert found(rows, spec("multiclass")) == []
