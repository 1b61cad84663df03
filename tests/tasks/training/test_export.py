"""The artefact that is served: ONNX where it gives the same scores, scikit-learn where it does not."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from bentos.runtime.card import Card
from bentos.runtime.contract import Feature
from bentos.runtime.scoring import Scorer
from tasks.errors import TrainingError
from tasks.spec import ModelSpec
from tasks.training.export import Exported, export, prediction_digest
from tasks.training.fit import fit, raw_scores

Specs = Callable[..., ModelSpec]
Frames = Callable[..., pd.DataFrame]
Pipelines = Callable[..., ModuleType]
CUTOFF = datetime(2024, 1, 24, tzinfo=UTC)


def exported(spec: ModelSpec, rows: pd.DataFrame, pipeline: Any, folder: Path, family: str = "one") -> Exported:
    train, holdout = rows.iloc[:1200].reset_index(drop=True), rows.iloc[1200:].reset_index(drop=True)
    fitted = pipeline if isinstance(pipeline, Pipeline) else fit(train, spec, pipeline, {"family": family, "seed": 7})
    return export(fitted, spec, train, holdout, CUTOFF, folder / "artefact")


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
@pytest.mark.parametrize("family", ["trees", "simple"])
def test_trees_and_linear_models_are_served_as_onnx(spec: Specs, frame: Frames, pipeline: Pipelines, tmp_path: Path, task: str, family: str) -> None:
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    made = pipeline(lambda _: kind(max_iter=10, early_stopping=False, random_state=0))

    found = exported(spec(task), frame(task), made, tmp_path, family)

    assert found.format == "onnx"
    assert "ONNX equals scikit-learn on 300 hold-out and 125 hard rows (largest difference" in found.parity
    assert found.parity.endswith("allowed 0.01; 0.00% of the rows off by more than 0.0001, allowed 0.1%)"), "what was allowed is on the model card"
    assert sorted(path.name for path in found.folder.iterdir()) == ["card.json", "model.onnx"]
    card = Card.load(found.folder)
    assert (card.version, card.format, card.cutoff, card.holdout_score) == (found.version, "onnx", CUTOFF, found.holdout_score)
    assert found.version.startswith("20240124-")
    assert len(card.golden) == 20
    assert Scorer.load(found.folder).score_rows([golden.row for golden in card.golden]) == [golden.score for golden in card.golden]


def test_a_conversion_that_is_silently_wrong_is_found_and_scikit_learn_serves(spec: Specs, frame: Frames, pipeline: Pipelines, tmp_path: Path) -> None:
    """HistGradientBoosting with `categorical_features` converts without an error, to other scores."""
    rows = frame().assign(label=lambda f: (f["city"] == "oslo").astype("float64"))
    made = pipeline(lambda _: HistGradientBoostingClassifier(max_iter=10, categorical_features=[0], random_state=0))

    found = exported(spec(), rows, made, tmp_path)

    assert found.format == "sklearn"
    assert "ONNX differs from scikit-learn" in found.parity
    assert sorted(path.name for path in found.folder.iterdir()) == ["card.json", "model.pkl"]
    assert Card.load(found.folder).format == "sklearn"
    fitted = fit(rows.iloc[:1200], spec(), made, {"family": "one"})
    assert np.array_equal(found.scores, raw_scores(fitted, rows.iloc[1200:], spec().contract))


def test_a_model_that_differs_only_on_a_number_that_training_never_held_is_served_by_scikit_learn(
    spec: Specs, frame: Frames, pipeline: Pipelines, tmp_path: Path
) -> None:
    """Distances lose their small differences in float32 once one of them is large."""
    found = exported(spec(), frame(), pipeline(lambda _: KNeighborsClassifier()), tmp_path)

    assert found.format == "sklearn"
    assert re.search(r"largest difference 0\.\d+ with [xz] at .*, allowed 0\.01", found.parity)


def test_a_pipeline_whose_score_overflows_at_the_largest_number_can_be_trained(spec: Specs, frame: Frames, tmp_path: Path) -> None:
    rows = frame("regression")
    target = TransformedTargetRegressor(Ridge(), func=np.arcsinh, inverse_func=np.sinh)
    fitted = Pipeline([("encode", ColumnTransformer([("numbers", "passthrough", ["x", "z"])])), ("model", target)]).fit(rows[["x", "z", "city"]], rows["label"])

    assert exported(spec("regression"), rows, fitted, tmp_path).format == "sklearn"


def test_what_has_no_conversion_is_served_by_scikit_learn(spec: Specs, frame: Frames, tmp_path: Path) -> None:
    rows = frame()
    encode = ColumnTransformer([("numbers", FunctionTransformer(np.tanh), ["x", "z"])])
    fitted = Pipeline([("encode", encode), ("model", LogisticRegression())]).fit(rows[["x", "z", "city"]], rows["label"].astype(int))

    found = exported(spec(), rows, fitted, tmp_path)

    assert found.format == "sklearn"
    assert found.parity.startswith("no ONNX (")


def test_numbers_that_float32_cannot_hold_are_served_by_scikit_learn(spec: Specs, frame: Frames, tmp_path: Path) -> None:
    rows = frame("regression").assign(x=lambda f: (f["label"] * 1000).round() + 1e9)

    assert exported(spec("regression"), rows, ModuleType("none"), tmp_path, "simple").format == "sklearn"


def test_features_may_have_any_name(spec: Specs, frame: Frames, tmp_path: Path) -> None:
    names = {"x": "Petal length (cm)", "z": "1st %", "city": "Straße"}
    features = {names[name]: Feature(type="category" if name == "city" else "number") for name in names}

    found = exported(spec(features=features), frame().rename(columns=names), ModuleType("none"), tmp_path, "simple")

    assert found.format == "onnx"
    assert set(Card.load(found.folder).golden[0].row) == set(names.values())


def test_a_class_that_training_never_saw_has_probability_zero(spec: Specs, frame: Frames, tmp_path: Path) -> None:
    rows = frame("multiclass").assign(label=lambda f: f["label"].where((f["label"] != "b") | (f.index > 1400), "a"))

    found = exported(spec("multiclass"), rows, ModuleType("none"), tmp_path, "simple")

    assert found.scores.shape == (300, 3)
    assert (found.scores[:, 1] == 0).all()
    assert np.allclose(found.scores.sum(axis=1), 1, atol=1e-6)


def test_null_booleans_and_integers_become_golden_rows_that_a_request_can_say(spec: Specs, frame: Frames, tmp_path: Path) -> None:
    features = {"x": Feature(type="number", nullable=True), "z": Feature(type="integer"), "city": Feature(type="boolean")}
    rows = frame().assign(x=lambda f: f["x"].mask(f.index % 2 == 0), z=lambda f: f["z"].round(), city=lambda f: (f["city"] == "oslo").astype("float64"))

    found = exported(spec(features=features), rows, ModuleType("none"), tmp_path, "simple")

    values = [tuple(golden.row.values()) for golden in Card.load(found.folder).golden]
    assert {type(value[1]) for value in values} == {int}
    assert {type(value[2]) for value in values} == {bool}
    assert any(value[0] is None for value in values)


@pytest.mark.parametrize(("nullable", "ordinal", "odd"), [(True, {}, "x missing"), (False, {"handle_unknown": "error"}, "city unseen")])
def test_a_pipeline_that_fails_on_a_row_that_requests_may_hold_stops_training(
    spec: Specs, frame: Frames, tmp_path: Path, nullable: bool, ordinal: dict[str, Any], odd: str
) -> None:
    ordinal = ordinal or {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    encode = ColumnTransformer([("categories", OrdinalEncoder(**ordinal), ["city"]), ("numbers", "passthrough", ["x", "z"])])
    fitted = Pipeline([("encode", encode), ("model", LogisticRegression())]).fit(frame()[["x", "z", "city"]], frame()["label"].astype(int))
    features = {"x": Feature(type="number", nullable=nullable), "z": Feature(type="number"), "city": Feature(type="category")}

    with pytest.raises(TrainingError, match=f"fails on a request with {odd}"):
        exported(spec(features=features), frame(), fitted, tmp_path)


def test_the_prediction_digest_moves_with_a_score_a_row_and_an_entity_but_not_with_rounding(frame: Frames) -> None:
    rows, scores = frame().head(3), np.array([0.123456789, 0.2, 0.3])

    digest = prediction_digest(rows, scores)

    assert digest == prediction_digest(rows, scores + 1e-9)
    assert digest == prediction_digest(rows, scores.astype("float32")), "six significant digits are what float32 holds"
    others = [(rows, scores + 1e-5), (rows.iloc[::-1], scores), (rows.assign(entity="e"), scores)]
    assert len({digest, *(prediction_digest(*other) for other in others)}) == 4


def test_the_bytes_of_a_forest_do_not_depend_on_when_it_was_exported(spec: Specs, frame: Frames, pipeline: Pipelines, tmp_path: Path) -> None:
    made = pipeline(lambda p: ExtraTreesClassifier(5, random_state=p["seed"], max_depth=4))

    first, again = (exported(spec(), frame(), made, tmp_path / name) for name in ("first", "again"))

    assert (first.version, first.prediction_digest) == (again.version, again.prediction_digest)
    assert (first.folder / "model.onnx").read_bytes() == (again.folder / "model.onnx").read_bytes()
