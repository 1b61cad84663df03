"""From a fitted pipeline to the artefact folder that is served: ONNX when it gives the same scores, else scikit-learn."""

import hashlib
import json
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bentos.runtime.card import FILES, Card, Golden, request_rows, seen_in
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.scoring import Scorer
from tasks.errors import TrainingError
from tasks.spec import ModelSpec
from tasks.training.fit import raw_scores
from tasks.training.metrics import Array, Measure
from tasks.training.parity import expected_of, hard_rows, must_be_finite, parity_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Format = Literal["onnx", "sklearn"]
OPSET = {"": 18, "ai.onnx.ml": 3}  # fixed, so that an update of the converter does not change a model's bytes; 3 is the last with the plain tree operators
GOLDEN_ROWS, DIGITS = 20, 6


@dataclass(frozen=True)
class Exported:
    """An artefact folder and what was found when it was made."""

    folder: Path
    version: str
    format: Format
    parity: str
    scores: Array
    prediction_digest: str
    holdout_score: float


def export(fitted: "Pipeline", spec: ModelSpec, train: pd.DataFrame, holdout: pd.DataFrame, cutoff: datetime, folder: Path) -> Exported:
    """Write model and card. What is returned was computed by the written model, opened as the service opens it.

    Raises:
        TrainingError: the pipeline fails on rows that requests may hold, or gives scores that are no numbers.
    """
    hard = hard_rows(train, spec.contract)
    expected = np.concatenate([raw_scores(fitted, holdout, spec.contract), expected_of(fitted, hard, spec)])
    needed = np.concatenate([np.ones(len(holdout), bool), must_be_finite(hard)])
    if lost := int((~np.isfinite(expected[needed])).sum()):
        raise TrainingError(spec.name, f"its pipeline gives {lost} scores that are no numbers", "Mend build() in its pipeline.py.")
    card = Card(
        name=spec.name,
        version="",
        format="onnx",
        contract=spec.contract,
        columns=tuple(map(str, fitted.classes_)) if spec.task == "multiclass" else (),
        seen=seen_in(train, spec.contract),
        cutoff=cutoff,
        holdout_score=0.0,
        metric=spec.gate.metric,
    )
    folder.mkdir(parents=True)
    scorer, parity = _onnx(fitted, card, folder, holdout, hard, expected)
    scorer = scorer or _sklearn(fitted, card, folder)
    return _finished(scorer, spec, holdout, cutoff, folder, parity)


def to_graph(fitted: "Pipeline", contract: Contract) -> bytes:
    """ONNX with an input of all numbers, one of all categories, and plain probabilities. Raises what skl2onnx raises."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    kinds = [(name, (StringTensorType if feature.type == "category" else FloatTensorType)([None, 1])) for name, feature in contract.features.items()]
    options = None if contract.task == "regression" else {id(fitted): {"zipmap": False}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about operators of its own; the parity check judges the result
        model = to_onnx(fitted, initial_types=kinds, options=options, name=contract.name, target_opset=OPSET)
    names = dict(zip([put.name for put in model.graph.input], contract.features, strict=True))  # it replaces signs that C names cannot have
    for put in model.graph.input:
        put.name = names[put.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    _join_inputs(model)
    versions = sorted(model.opset_import, key=lambda version: version.domain)  # skl2onnx writes them in the order of a set
    del model.opset_import[:]
    model.opset_import.extend(versions)
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def _join_inputs(model: Any) -> None:
    """Make one input of all that have the same type, for handing over sixteen costs more than a boosted model; the metadata list its columns."""
    from onnx import helper

    graph, kinds = model.graph, {put.type.tensor_type.elem_type for put in model.graph.input}
    joined = {f"columns of type {kind}": [put.name for put in graph.input if put.type.tensor_type.elem_type == kind] for kind in sorted(kinds)}
    inputs = [helper.make_tensor_value_info(name, int(name.split()[-1]), [None, len(columns)]) for name, columns in joined.items()]
    nodes = [helper.make_node("Split", [name], columns, axis=1, num_outputs=len(columns)) for name, columns in joined.items()]
    nodes += graph.node
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    helper.set_model_props(model, {name: json.dumps(columns) for name, columns in joined.items()})


def prediction_digest(frame: pd.DataFrame, scores: Array) -> str:
    """sha256 over one line per row, in order: event time, entity, and the scores to six significant digits."""
    entity = frame["entity"] if "entity" in frame else pd.Series("", index=frame.index)
    digest = hashlib.sha256()
    for moment, key, row in zip(frame["event_time"].to_numpy("int64"), entity, scores.reshape(len(frame), -1).tolist(), strict=True):
        digest.update(f"{moment}|{key}|{','.join(f'{value:.{DIGITS}g}' for value in row)}\n".encode())
    return digest.hexdigest()


def _onnx(fitted: "Pipeline", card: Card, folder: Path, holdout: pd.DataFrame, hard: pd.DataFrame, expected: Array) -> tuple[Scorer | None, str]:
    path = folder / FILES["onnx"]
    try:
        path.write_bytes(to_graph(fitted, card.contract))
        card.save(folder)
        scorer = Scorer.load(folder)
        found = np.concatenate([scorer.score(holdout), np.array(scorer.score_rows(request_rows(hard, card.contract)))])  # hard ones as requests say them
    except Exception as err:  # noqa: BLE001  # converter and runtime raise many kinds; each means that scikit-learn serves
        path.unlink(missing_ok=True)
        return None, f"no ONNX ({type(err).__name__}: {str(err).strip().splitlines()[0][:160] if str(err).strip() else 'no message'}); scikit-learn serves"
    same, gap = parity_of(expected, found, card.contract.task, hard.index)
    rows = f"on {len(holdout):,} hold-out and {len(hard):,} hard rows ({gap})"
    if same:
        return scorer, f"ONNX equals scikit-learn {rows}"
    path.unlink()
    return None, f"ONNX differs from scikit-learn {rows}; scikit-learn serves"


def _sklearn(fitted: "Pipeline", card: Card, folder: Path) -> Scorer:
    import joblib

    joblib.dump(fitted, folder / FILES["sklearn"])
    card.model_copy(update={"format": "sklearn"}).save(folder)
    return Scorer.load(folder)


def _finished(scorer: Scorer, spec: ModelSpec, holdout: pd.DataFrame, cutoff: datetime, folder: Path, parity: str) -> Exported:
    """Complete the card with what only the written model can say."""
    file = folder / FILES[scorer.card.format]
    version = f"{cutoff:%Y%m%d}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    scores, measure = scorer.score(holdout), Measure.of(spec)
    value = measure.value(measure.codes(holdout["label"]), scores)
    golden = _golden(scorer, holdout)
    card = scorer.card.model_copy(update={"version": version, "golden": golden, "holdout_score": value})
    card.save(folder)
    return Exported(folder, version, card.format, parity, scores, prediction_digest(holdout, scores), card.holdout_score)


def _golden(scorer: Scorer, holdout: pd.DataFrame) -> tuple[Golden, ...]:
    """Hold-out rows that a request may send, evenly spread, with the score that the written model gives them."""
    features = scorer.card.contract.features
    valid = np.ones(len(holdout), bool)
    for name, feature in features.items():
        if not feature.nullable:
            valid &= (holdout[name].notna() & (holdout[name] != "")).to_numpy()
        if feature.closed:
            valid &= holdout[name].isin(["", *feature.closed]).to_numpy()
    places = np.flatnonzero(valid)
    chosen = holdout.iloc[places[np.linspace(0, len(places) - 1, min(GOLDEN_ROWS, len(places))).round().astype(int)]]
    rows = [{name: _plain(row[name], feature) for name, feature in features.items()} for row in chosen[list(features)].to_dict("records")]
    return tuple(Golden(row=row, score=score) for row, score in zip(rows, scorer.score_rows(rows), strict=True)) if rows else ()


def _plain(value: Any, feature: Feature) -> Any:
    """A feature's value as a request says it."""
    if value == "" or value != value:  # NaN is the one value that is not itself
        return None
    return {"number": float, "integer": int, "boolean": bool, "category": str}[feature.type](value)
