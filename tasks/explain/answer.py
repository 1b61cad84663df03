"""An answered row, replayed: through each step of the training-side pipeline, and through the model that was served."""

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from bentos.runtime.card import Score
from bentos.runtime.lines import PredictionLine
from tasks.explain.contributions import Contributions, contributions
from tasks.explain.pipeline import ReplayError, open_pipeline
from tasks.explain.steps import Step, last, replay
from tasks.explain.withheld import completed
from tasks.ledger.rows import VersionRow
from tasks.store import Ref, Store

ALLOWED = 1e-4  # of the score's scale: what the parity check of training calls close


class Replayed(BaseModel):
    """What today's replay of an answered row gives, beside what was answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    version: str
    format: str
    row: dict[str, Any]
    missing: tuple[str, ...] = Field((), description="Features that the log does not hold; a null stood for each.")
    steps: tuple[Step, ...]
    answered: Score
    pipeline: Score = Field(description="Score of the training-side pipeline, today.")
    served: Score = Field(description="Score of the model that was served, today.")
    pipeline_off: float = Field(description="Distance of the pipeline's score from the answered one, in units of the score's scale.")
    served_off: float
    allowed: float = ALLOWED
    equal: bool
    contributions: Contributions


def replayed(line: PredictionLine, version: VersionRow, store: Store, given: Mapping[str, Any] = MappingProxyType({}), key: str = "") -> Replayed:
    """Replay an answered row. `given` and `key` are for what the log withholds of it, as `completed` takes them.

    Raises:
        StoreError, ReplayError: the version's files cannot be opened. ReplayError: its pipeline fails on the row. WithheldError: as `completed`.
    """
    served, trained = open_pipeline(version, store)
    contract, pipeline = trained.card.contract, trained.scores.pipeline  # type: ignore[attr-defined]  # it is the scikit-learn one
    row = completed(line, contract, given, key)
    reference = pd.read_parquet(io.BytesIO(store.get(Ref.parse(version.reference)))) if version.reference else None
    try:
        steps, data = replay(pipeline, contract.frame(pd.DataFrame([row], columns=list(contract.features))))
        steps.append(last(pipeline, data))
        scores = [scorer.score_rows([row])[0] for scorer in (trained, served)]
        moved = contributions(trained, pipeline, data, row, reference)
    except Exception as err:  # an author's step may raise anything; the row was answered, so it says something of today's code
        remedy = "Compare today's code and packages with the version's."
        raise ReplayError(version, f"its pipeline fails on this row ({type(err).__name__}: {err})", remedy) from err
    scale = _scale(line.score, contract.task, reference)
    off = [_off(score, line.score, scale) for score in scores]
    return Replayed(
        id=line.id,
        model=line.model,
        version=line.version,
        format=version.format,
        row=row,
        missing=tuple(name for name in contract.features if name not in row),
        steps=tuple(steps),
        answered=line.score,
        pipeline=scores[0],
        served=scores[1],
        pipeline_off=off[0],
        served_off=off[1],
        equal=max(off) <= ALLOWED,
        contributions=moved,
    )


def _off(found: Score, answered: Score, scale: float) -> float:
    return float(np.abs(np.subtract(found, answered)).max() / scale)


def _scale(answered: Score, task: str, reference: pd.DataFrame | None) -> float:
    """As the parity check measures: 1 for a probability; for a number the spread of the predictions, or its own size when that is greater."""
    if task != "regression" or isinstance(answered, list):
        return 1.0
    spread = float(reference["prediction"].std()) if reference is not None and len(reference) > 1 else 0.0
    return max(abs(answered), spread) or 1.0
