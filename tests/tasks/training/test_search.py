"""The search: seeded, recorded, fair to the linear model."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from tasks.errors import SpecError, TrainingError
from tasks.spec import ModelSpec, Search
from tasks.training.search import search

Specs = Callable[..., ModelSpec]
Frames = Callable[..., pd.DataFrame]
Pipelines = Callable[..., ModuleType]


def test_the_better_family_is_found_and_every_trial_is_recorded(spec: Specs, frame: Frames, boosting: ModuleType) -> None:
    found = search(frame(), spec(search=Search(trials=4)), boosting)

    assert len(found.trials) == 4
    assert {trial.family for trial in found.trials[:2]} == {"one", "two"}, "each family is tried, whatever chance says"
    assert found.family in {"one", "two"}
    assert found.params["seed"] == 7
    assert max(trial.value or 0 for trial in found.trials) > found.simple
    assert "better by at least" in found.reason


def test_the_same_seed_searches_the_same(spec: Specs, frame: Frames, boosting: ModuleType) -> None:
    def tried(seed: int) -> list[Any]:
        return [(trial.params["family"], trial.value) for trial in search(frame(), spec(search=Search(trials=4), seed=seed), boosting).trials]

    assert tried(1) == tried(1)
    assert tried(1) != tried(2)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_on_linear_data_the_linear_model_is_the_candidate(spec: Specs, frame: Frames, pipeline: Pipelines, boosting: ModuleType, task: str) -> None:
    trees = boosting if task == "binary" else pipeline(lambda p: HistGradientBoostingRegressor(max_iter=40, random_state=p["seed"]))

    found = search(frame(task, linear=True), spec(task), trees)

    assert found.family == "simple"
    assert found.params == {"family": "simple", "seed": 7}
    assert "the linear model is the candidate" in found.reason


def test_a_failing_trial_is_recorded_and_the_others_go_on(spec: Specs, frame: Frames, pipeline: Pipelines) -> None:
    def moody(params: dict[str, Any]) -> Any:
        return LogisticRegression(C=-1.0 if params["family"] == "two" else 1.0)

    trials = search(frame(linear=True), spec(search=Search(trials=4)), pipeline(moody)).trials

    assert {trial.family for trial in trials if trial.error} == {"two"}
    assert {trial.family for trial in trials if trial.value is not None} == {"one"}


def test_when_every_trial_fails_training_stops_and_tells_why(spec: Specs, frame: Frames, pipeline: Pipelines) -> None:
    with pytest.raises(TrainingError, match="all 2 trials failed, the first with: InvalidParameterError"):
        search(frame(), spec(), pipeline(lambda _: LogisticRegression(C=-1.0)))


def test_a_space_that_fails_or_takes_the_engines_word_is_the_authors_error(spec: Specs, frame: Frames, boosting: ModuleType) -> None:
    boosting.space = lambda _: {"family": "simple"}
    with pytest.raises(SpecError, match="'simple' is the engine's own"):
        search(frame(), spec(), boosting)

    boosting.space = lambda trial: {"depth": trial.suggest_whatever("depth")}
    with pytest.raises(SpecError, match="space\\(\\) failed: AttributeError"):
        search(frame(), spec(), boosting)


def test_rows_of_one_class_stop_training(spec: Specs, frame: Frames, boosting: ModuleType) -> None:
    rows = frame()

    with pytest.raises(TrainingError, match="would fit hold one class only"):
        search(rows.assign(label=0.0), spec(), boosting)
    with pytest.raises(TrainingError, match="would validate with hold one class only"):
        search(rows.assign(label=rows["label"].where(rows.index < 1100, 0.0)), spec(), boosting)


def test_with_too_few_blocks_to_be_sure_the_linear_model_is_the_candidate(spec: Specs, frame: Frames, boosting: ModuleType) -> None:
    one_day = frame().assign(event_time=pd.date_range("2024-01-01", periods=1500, freq="s"))

    assert search(one_day, spec(), boosting).family == "simple"
    assert search(one_day, spec(gate={"block": "row"}), boosting).family != "simple"
