"""What every server is given: one boosted model of late flights as ONNX, as a bento and as scikit-learn, and rows with their right scores."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from bentos.runtime.card import request_rows
from bentos.runtime.digest import digest_of
from bentos.runtime.release import Release
from tasks.data.snapshot import training_frame
from tasks.data.source import read
from tasks.project import Project
from tasks.release.package import build
from tasks.spec import ModelSpec
from tasks.training.export import export
from tasks.training.fit import fit, raw_scores
from tasks.training.split import split

ROOT = Path(__file__).parents[3]
MODEL, BATCH = "flights_late", "2013-01"
BOOSTING = {"family": "boosting", "seed": 7, "max_iter": 100, "max_leaf_nodes": 31, "learning_rate": 0.1, "min_samples_leaf": 40}
SAMPLE = 200  # rows, which the requests go through one after another


@dataclass(frozen=True)
class Model:
    """Files of one model, and hold-out rows with the scores that scikit-learn gives them."""

    artefact: Path
    bento: Path
    pickle: Path
    release: Release
    rows: list[dict[str, Any]]
    scores: list[float]


def prepare(folder: Path) -> Model:
    """Train on a month of flights and pack the model. It is the boosted one, which the gate may not prefer: more work per row, and ONNX."""
    project = Project(ROOT)
    spec = project.model(MODEL)
    dataset, pipeline = project.dataset(spec.dataset), project.pipeline(MODEL)
    parts = split(training_frame(read(dataset, BATCH), dataset, spec, pipeline.features), spec.gate, MODEL)
    fitted = fit(parts.train, spec, pipeline, BOOSTING)
    exported = export(fitted, spec, parts.train, parts.holdout, parts.cutoff, folder / "artefact")
    assert exported.format == "onnx", exported.parity
    bento = build(spec, exported.folder, exported.version, project, folder / "bento")
    joblib.dump(fitted, folder / "model.pkl")
    sample = _askable(parts.holdout, spec)
    return Model(
        artefact=exported.folder,
        bento=bento,
        pickle=folder / "model.pkl",
        release=Release(id="bench-r1", model=MODEL, version=exported.version, bento=digest_of(bento), artefact=digest_of(exported.folder)),
        rows=_requests(sample, spec),
        scores=raw_scores(fitted, sample, spec.contract).tolist(),
    )


def _askable(holdout: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """Rows spread over the hold-out, as they are: about one in five lacks some number."""
    known = holdout[[name for name, feature in spec.features.items() if not feature.nullable]].notna().all(axis=1)
    rows = holdout[known]
    return rows.iloc[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)].reset_index(drop=True)


def _requests(sample: pd.DataFrame, spec: ModelSpec) -> list[dict[str, Any]]:
    """Each with its event time and entity, as a careful caller sends them."""
    rows = request_rows(spec.contract.frame(sample), spec.contract)
    times = [datetime.fromtimestamp(moment.timestamp(), UTC).isoformat() for moment in sample["event_time"]]
    return [row | {"event_time": time, "entity": entity} for row, time, entity in zip(rows, times, sample["entity"], strict=True)]
