"""One training, before anything is found: what its stages share, and the rows that they see."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pandas as pd

from tasks.errors import SpecError, TrainingError
from tasks.order import Drill, TrainingSettings
from tasks.project import Project
from tasks.spec import ModelSpec
from tasks.store import Ref, Store
from tasks.training.split import Split, split

Frames = Callable[[ModelSpec], pd.DataFrame]


@dataclass(frozen=True)
class Job:
    """What all stages of one training share. `frames` gives the training frame of a spec on the snapshot, the same each time."""

    spec: ModelSpec
    frames: Frames
    snapshot: Ref
    pipeline: ModuleType
    code: str
    store: Store
    drill: Drill = "none"


def training_job(
    spec: ModelSpec, frames: Frames, snapshot: Ref, project: Project, store: Store, settings: TrainingSettings | None = None, drill: Drill = "none"
) -> Job:
    """A job with the settings that differ from the spec put into it."""
    if settings:
        budget = spec.search.model_copy(update={"trials": settings.trials or spec.search.trials, "rows": settings.rows or spec.search.rows})
        spec = spec.model_copy(update={"search": budget, "seed": settings.seed if settings.seed >= 0 else spec.seed})
    return Job(spec, frames, snapshot, project.pipeline(spec.name), project.code_digest(spec.name), store, drill)


def split_of(job: Job) -> Split:
    """The training frame cut in time; in a drill the labels of the training part are shuffled, the hold-out is left as it is.

    Raises:
        TrainingError: a part would be empty, or the gate's metric is not defined on the hold-out.
    """
    spec, frame = job.spec, job.frames(job.spec)
    if spec.gate.block == "entity" and "entity" not in frame:
        raise SpecError(spec.folder / "model.toml", [f"gate.block is 'entity', but dataset {spec.dataset!r} names no entity"])
    rows = split(frame, spec.gate, spec.name)
    if spec.task != "regression" and rows.holdout["label"].nunique() < 2:
        found = f"its {len(rows.holdout):,} hold-out rows hold one class only ({rows.holdout['label'].iloc[0]})"
        raise TrainingError(spec.name, found, "Ingest more batches, or lengthen the hold-out in its model.toml.")
    if job.drill == "none":
        return rows
    shuffled = np.random.default_rng(spec.seed).permutation(rows.train["label"].to_numpy())
    return Split(rows.cutoff, rows.seen_until, rows.train.assign(label=shuffled), rows.holdout)
