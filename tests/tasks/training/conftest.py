"""Small training frames, specs and pipelines of the tests of training."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bentos.runtime.contract import Feature
from tasks.spec import Gate, Label, ModelSpec, Search
from tasks.store import Ref, Store
from tasks.training.job import Job

FEATURES = {"x": Feature(type="number"), "z": Feature(type="number"), "city": Feature(type="category")}
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "mae"}
LABELS = {"binary": Label(column="y", positive="1"), "multiclass": Label(column="y"), "regression": Label(column="y")}


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., ModelSpec]:
    """Makes the spec of a model; facts of its gate are given as `gate`."""

    def make(task: Any = "binary", gate: dict[str, Any] | None = None, **facts: Any) -> ModelSpec:
        given: dict[str, Any] = {
            "name": "toy",
            "folder": tmp_path,
            "dataset": "toys",
            "task": task,
            "label": LABELS[task],
            "classes": ("a", "b", "c") if task == "multiclass" else (),
            "features": FEATURES,
            "seed": 7,
            "search": Search(trials=2),
            "gate": Gate(**{"metric": METRICS[task], "draws": 200, "min_rows": 100} | (gate or {})),
        }
        return ModelSpec(**given | facts)

    return make


@pytest.fixture
def frame() -> Callable[..., pd.DataFrame]:
    """Makes a training frame of 30 days: the label depends on x times z, which a linear model cannot see, or on their sum."""

    def make(task: str = "binary", rows: int = 1500, linear: bool = False, noise: float = 0.5, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        x, z = rng.normal(size=(2, rows))
        signal = (x + z if linear else 2 * x * z) + rng.normal(scale=noise, size=rows)
        label: Any = signal
        if task == "binary":
            label = (signal > 0).astype("float64")
        elif task == "multiclass":
            label = np.array(["a", "b", "c"], dtype=object)[np.digitize(signal, [-0.7, 0.7])]
        times = pd.date_range("2024-01-01", "2024-01-30 23:00", periods=rows).astype("datetime64[ns]")
        return pd.DataFrame({"x": x, "z": z, "city": rng.choice(["ams", "oslo", ""], rows).astype(object), "event_time": times, "label": label})

    return make


@pytest.fixture
def pipeline() -> Callable[..., ModuleType]:
    """Makes an author's pipeline module: categories as ordinal numbers, then the estimator that `estimator(params)` returns."""

    def make(estimator: Callable[[dict[str, Any]], Any], families: tuple[str, ...] = ("one", "two")) -> ModuleType:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OrdinalEncoder

        def build(params: dict[str, Any]) -> Pipeline:
            ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
            encode = ColumnTransformer([("categories", ordinal, ["city"]), ("numbers", SimpleImputer(keep_empty_features=True), ["x", "z"])])
            return Pipeline([("encode", encode), ("model", estimator(params))])

        module = ModuleType("toy_pipeline")
        vars(module).update(build=build, space=lambda trial: {"family": trial.suggest_categorical("family", families)})
        return module

    return make


@pytest.fixture
def boosting(pipeline: Callable[..., ModuleType]) -> ModuleType:
    """Two families of boosted trees for a binary label."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return pipeline(lambda p: HistGradientBoostingClassifier(max_iter=20 if p["family"] == "one" else 40, early_stopping=False, random_state=p["seed"]))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Makes a training job on a frame."""

    def make(spec: ModelSpec, frame: pd.DataFrame, pipeline: ModuleType, **facts: Any) -> Job:
        store = Store(f"file://{tmp_path / 'store'}")
        return Job(spec=spec, frames=lambda _: frame, snapshot=Ref(digest="0" * 64, suffix=".json"), pipeline=pipeline, code="c", store=store, **facts)

    return make
