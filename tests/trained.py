"""A project of rides with a trained, live model of each task and form, for tests of what is done with a champion."""

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.place import Place
from bentos.runtime.rows import Models
from deployments import cli
from tasks.installation import Installation
from tasks.ledger.rows import ReleaseRow
from tasks.scoring.batch import champion_scorer
from tasks.settings import Settings
from tasks.store import Ref
from tasks.training.job import training_job
from tasks.training.stages import make_candidate

DATASET = """
    time = "at"
    outcome = ["paid", "late", "grade"]
    """
MODEL = """
    dataset = "rides"
    task = "{task}"
    seed = 3
    label = {label}
    {classes}
    search = {{ trials = 1 }}
    monitoring = {{ sample = 400 }}
    gate = {{ metric = "{metric}", draws = 100 }}

    [features]
    km = {{ type = "number" }}
    age = {{ type = "integer", nullable = true }}
    city = {{ type = "category" }}
    tariff = {{ type = "category", closed = ["day", "night"] }}
    shared = {{ type = "boolean", nullable = true }}
    hour = {{ type = "integer" }}
    """
PIPELINE = """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoosting{kind}
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    def features(raw):
        return raw.assign(hour=raw["at"].dt.hour)[["km", "age", "city", "tariff", "shared", "hour"]]

    def build(params):
        ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        numbers = ["km", "age", "shared", "hour"]
        encode = ColumnTransformer([("text", ordinal, ["city", "tariff"]), ("numbers", "passthrough", numbers)])
        trees = HistGradientBoosting{kind}(max_iter=20, early_stopping=False, random_state=0, categorical_features={categorical})
        return Pipeline([("encode", encode), ("model", trees)])

    def space(trial):
        return {{"family": trial.suggest_categorical("family", ["trees"])}}
    """
BINARY = {"task": "binary", "label": '{ column = "late", positive = "True" }', "metric": "roc_auc", "kind": "Classifier"}
REGRESSION = {"task": "regression", "label": '{ column = "paid" }', "metric": "mae", "kind": "Regressor"}
GRADES = {"task": "multiclass", "label": '{ column = "grade" }', "metric": "log_loss", "kind": "Classifier", "classes": 'classes = ["high", "low", "mid"]'}
MODELS = {
    "rides_late": BINARY,
    "rides_grade": GRADES,
    "rides_paid": REGRESSION,  # the linear model is the best there is
    "rides_pickled": BINARY | {"categorical": "[0]"},  # has no right conversion to ONNX
}


def rides(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    """Raw rows of the dataset, with nulls where the models take them."""
    rng = np.random.default_rng(seed)
    km, city, tariff = rng.exponential(5, rows).round(2), rng.choice(list("abcdef"), rows), rng.choice(["day", "night"], rows)
    raw = pd.DataFrame({"at": pd.date_range("2024-01-01", periods=rows, freq="h"), "ride": [f"{n:04d}" for n in range(rows)], "km": km, "city": city})
    raw["age"] = np.where(rng.random(rows) < 0.1, np.nan, rng.integers(18, 80, rows))
    raw["tariff"], raw["shared"] = tariff, np.where(rng.random(rows) < 0.1, None, rng.random(rows) < 0.5)
    signal = np.sin(km) + np.isin(city, ["b", "e"]) + rng.normal(scale=0.2, size=rows)
    raw["late"], raw["paid"] = signal > 0.6, 3 * km + 2 * (tariff == "night") + rng.normal(scale=0.1, size=rows)
    raw["grade"] = np.array(["low", "mid", "high"])[np.digitize(signal, [0.2, 0.9])]
    return raw


def train_all(folder: Path) -> Installation:
    """Write the project, train every model once, and say in the ledger that it is live. Nothing is served."""
    for name, text in {
        "expectations/rides/dataset.toml": DATASET,
        **{k: v for model, facts in MODELS.items() for k, v in _files(model, facts).items()},
    }.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    here = Installation.of(Settings(project=folder / "project", home=folder / "home"))
    for model in MODELS:
        spec, features = here.project.model(model), here.project.pipeline(model).features
        raw = rides().assign(event_time=lambda frame: frame["at"].astype("datetime64[ns]"))
        frame = spec.contract.frame(features(raw)).assign(event_time=raw["event_time"], label=raw[spec.label.column])
        frame["label"] = frame["label"].astype(object if spec.task == "multiclass" else "float64")
        job = training_job(spec, lambda _, frame=frame: frame, Ref(digest="0" * 64, suffix=".json"), here.project, here.store)
        row = make_candidate(job, None).row(1, f"{model}-1")
        here.ledger.append(row, ReleaseRow(model=model, release=f"{model}-r1", version=row.version, step="live", reason="better"))
    return here


def endpoint(here: Installation, model: str, log: Path | None = None) -> Endpoint:
    """The champion behind its endpoint, in this process."""
    scorer = champion_scorer(here.ledger.read(), model, here.store)
    made = Endpoint(scorer, Models(scorer.card.contract, 1_000), Place(log=log, release=f"{model}-r1"))
    made.warm_up()
    return made


def ratchet(here: Installation, monkeypatch: Any) -> Callable[..., int]:
    """Runs a command on an installation, in this process, and gives its exit code."""
    monkeypatch.setenv("RATCHET_HOME", str(here.settings.home))
    monkeypatch.setenv("RATCHET_PROJECT", str(here.settings.project))
    for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_UI_URL", "PREFECT_SERVER_API_HOST", "PREFECT_SERVER_API_PORT"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone after the test
        monkeypatch.delenv(name)

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ratchet", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def _files(model: str, facts: dict[str, str]) -> dict[str, str]:
    words = {"classes": "", "categorical": "None"} | facts
    return {f"bentos/{model}/model.toml": MODEL.format(**words), f"bentos/{model}/pipeline.py": PIPELINE.format(**words)}
