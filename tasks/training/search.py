"""The hyper-parameter search, and the question whether anything it found beats the linear model."""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from types import ModuleType
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.errors import SpecError, TrainingError
from tasks.spec import ModelSpec
from tasks.training.baselines import SIMPLE
from tasks.training.fit import fit, raw_scores
from tasks.training.metrics import MIN_BLOCKS, Array, Measure, block_codes, bootstrap_gain
from tasks.training.split import Split, validation


class TrialResult(BaseModel):
    """One trial: what was tried and the gate's metric on the validation rows, or why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    family: str = ""
    params: dict[str, Any] = {}
    value: float | None = None
    error: str = ""


class SearchResult(BaseModel):
    """What is to be fitted on all training rows, and how it was chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    params: dict[str, Any]
    trials: tuple[TrialResult, ...]
    metric: str
    simple: float
    reason: str


@dataclass(frozen=True)
class _Course:
    """What every trial runs on: the rows, split for fitting and validating, and the measure."""

    rows: Split
    spec: ModelSpec
    pipeline: ModuleType

    @cached_property
    def measure(self) -> Measure:
        return Measure.of(self.spec)

    @cached_property
    def codes(self) -> Array:
        return self.measure.codes(self.rows.holdout["label"])

    def run(self, params: dict[str, Any]) -> Array:
        """Scores of the validation rows."""
        return raw_scores(fit(self.rows.train, self.spec, self.pipeline, params), self.rows.holdout, self.spec.contract)

    def value(self, scores: Array) -> float:
        """The gate's metric; an undefined one is an error."""
        value = self.measure.value(self.codes, scores)
        if not isfinite(value):
            raise TrainingError(self.spec.name, f"{self.measure.metric} of the validation rows is not a number", "Mend build() in its pipeline.py.")
        return value


def search(train: pd.DataFrame, spec: ModelSpec, pipeline: ModuleType) -> SearchResult:
    """Try `spec.search.trials` draws of the author's space on the newest training rows, and hold the best against the linear model.

    The newest part of the training rows validates and is not fitted here. The linear model is chosen unless the best trial is better, surely.

    Raises:
        TrainingError: every trial failed, or the rows cannot judge any.
    """
    course = _Course(validation(train, spec.gate, spec.search.rows, spec.name), spec, pipeline)
    _require_classes(course)
    simple: dict[str, Any] = {"family": SIMPLE, "seed": spec.seed}
    linear = course.run(simple)
    trials, scores = _trials(course)
    done = [trial for trial in trials if trial.value is not None]
    if not done:
        raise TrainingError(spec.name, f"all {len(trials)} trials failed, the first with: {trials[0].error}", "Mend build() or space() in its pipeline.py.")
    best = max(done, key=lambda trial: course.measure.sign * (trial.value or 0.0))  # the first of equals
    blocks = block_codes(course.rows.holdout, spec.gate.block)
    gain = bootstrap_gain(course.measure, course.codes, scores[best.number], linear, blocks, spec.gate, spec.seed)
    enough = blocks.max() + 1 >= MIN_BLOCKS
    wins = enough and gain.low > 0
    outcome = f"better by at least {gain.low:.4g}" if wins else "not surely better" if enough else f"too few {spec.gate.block} blocks to be sure"
    chosen, value = best.params if wins else simple, course.value(linear)
    reason = f"{best.family} reached {spec.gate.metric} {best.value:.4g} on {len(linear):,} validation rows, the linear model {value:.4g}: {outcome}"
    reason += "" if wins else ", so the linear model is the candidate"
    return SearchResult(family=chosen["family"], params=chosen, trials=tuple(trials), metric=spec.gate.metric, simple=value, reason=reason)


def _trials(course: _Course) -> tuple[list[TrialResult], dict[int, Array]]:
    """Results in order, and the validation scores of those that gave some. Every family of the space is tried at least once."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = course.spec
    study = optuna.create_study(direction="maximize" if course.measure.sign > 0 else "minimize", sampler=optuna.samplers.TPESampler(seed=spec.seed))
    results: list[TrialResult] = []
    scores: dict[int, Array] = {}
    for number in range(spec.search.trials):
        trial = study.ask()
        params = _draw(course, trial)
        if number == 0:
            _enqueue_other_families(study, trial)
        try:
            found = course.run(params)
            value = course.value(found)
        except Exception as err:  # noqa: BLE001  # an author's draw may fail in any way: it is recorded, and all failing ends the training
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            results.append(TrialResult(number=number, family=params["family"], params=params, error=f"{type(err).__name__}: {err}"[:300]))
        else:
            study.tell(trial, value)
            scores[number] = found
            results.append(TrialResult(number=number, family=params["family"], params=params, value=value))
    return results, scores


def _draw(course: _Course, trial: Any) -> dict[str, Any]:
    """Parameters of a trial, with the seed; `space()` itself must not fail."""
    path = course.spec.folder / "pipeline.py"
    try:
        params = {**course.pipeline.space(trial), "seed": course.spec.seed}
    except Exception as err:  # whatever an author's function raises is told by name
        raise SpecError(path, [f"space() failed: {type(err).__name__}: {err}"]) from err
    if params.get("family", SIMPLE) == SIMPLE:
        raise SpecError(path, [f"space() must return a `family`, and {SIMPLE!r} is the engine's own linear model"])
    return params


def _enqueue_other_families(study: Any, trial: Any) -> None:
    """The first draw says which families there are; the next draws try each of the others once, so that chance leaves none out."""
    choices = getattr(trial.distributions.get("family"), "choices", ())
    for family in choices:
        if family != trial.params["family"]:
            study.enqueue_trial({"family": family})


def _require_classes(course: _Course) -> None:
    """Raise TrainingError when the rows to fit have one class only, or the metric is undefined on the validation rows."""
    spec, rows = course.spec, course.rows
    if spec.task == "regression":
        return
    remedy = "Ingest more batches, or give the search more rows (search.rows in its model.toml)."
    for part, frame in (("fit", rows.train), ("validate with", rows.holdout)):
        counts = frame["label"].value_counts()
        if len(counts) < 2 and (part == "fit" or spec.gate.metric == "roc_auc"):
            raise TrainingError(spec.name, f"the {len(frame):,} rows that the search would {part} hold one class only ({counts.index[0]})", remedy)
