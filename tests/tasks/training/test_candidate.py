"""A whole training: snapshot in, candidate out. Refused whenever it should be, and the same whenever it is repeated."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from bentos.runtime.contract import Feature
from tasks.errors import SpecError, TrainingError
from tasks.ledger.rows import VersionRow
from tasks.order import TrainingSettings
from tasks.spec import ModelSpec, Monitoring, Search
from tasks.training.candidate import Candidate
from tasks.training.job import Job, split_of, training_job
from tasks.training.metrics import MIN_BLOCKS
from tasks.training.stages import gate_stage, make_candidate

Specs = Callable[..., ModelSpec]
Frames = Callable[..., pd.DataFrame]
Pipelines = Callable[..., ModuleType]
Jobs = Callable[..., Job]


def champion_of(done: Candidate, cutoff: datetime | None = None) -> VersionRow:
    row = done.row(attempt=1, decision="d1", thresholds={"x": 0.1})
    return row.model_copy(update={"cutoff": cutoff}) if cutoff else row


@pytest.fixture
def trees(pipeline: Pipelines) -> ModuleType:
    """Two families: one too small to see much, one that learns."""

    def estimator(params: dict[str, Any]) -> Any:
        if params["family"] == "stump":
            return ExtraTreesClassifier(2, max_depth=1, random_state=params["seed"])
        return HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=params["seed"])

    return pipeline(estimator, families=("stump", "boosting"))


def test_a_first_version_that_learned_something_is_accepted_and_its_row_is_whole(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    one = job(spec(monitoring=Monitoring(sample=200)), frame(), trees)

    done = make_candidate(one, None)
    row = done.row(attempt=2, decision="d1", run="r", actor="ada", thresholds={"x": 0.1})

    assert done.gate.accepted, done.gate.reasons
    assert (done.fitted.family, done.fitted.format, len(done.trials)) == ("boosting", "onnx", 2)
    assert row.holdout_score == pytest.approx(done.gate.scores["challenger"])
    assert row.cutoff < row.seen_until == row.event_time
    assert (row.rows, row.seed, row.trials, row.attempt) == (1200, 7, 2, 2)
    assert VersionRow.model_validate_json(row.model_dump_json()) == row
    reference = pd.read_parquet(io.BytesIO(one.store.get(done.fitted.reference)))
    assert reference.columns.tolist() == ["x", "z", "city", "event_time", "holdout", "prediction"]
    assert len(reference) == 200
    assert reference["event_time"].is_monotonic_increasing
    assert reference["holdout"].mean() == pytest.approx(0.2, abs=0.01)
    assert reference["prediction"].between(0, 1).all()


def test_shuffled_training_labels_are_refused_and_the_hold_out_is_left_as_it_is(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    rows = frame()
    drill, plain = job(spec(), rows, trees, drill="shuffled_labels"), job(spec(), rows, trees)

    assert split_of(drill).holdout.equals(split_of(plain).holdout)
    assert not split_of(drill).train["label"].equals(split_of(plain).train["label"])
    assert split_of(drill).train["label"].sum() == split_of(plain).train["label"].sum()
    assert split_of(drill).train.equals(split_of(drill).train), "seeded"

    champion = champion_of(make_candidate(plain, None))
    for against in (None, champion):
        assert not make_candidate(drill, against).gate.accepted


def test_a_nearest_neighbour_that_memorises_is_refused(spec: Specs, frame: Frames, trees: ModuleType, pipeline: Pipelines, job: Jobs) -> None:
    rows = frame(noise=2.0)
    champion = champion_of(make_candidate(job(spec(), rows, trees), None))

    done = make_candidate(job(spec(), rows, pipeline(lambda _: KNeighborsClassifier(1))), champion)

    assert not done.gate.accepted


def test_a_copy_of_the_label_that_nobody_declared_is_refused_by_name(spec: Specs, frame: Frames, job: Jobs, trees: ModuleType) -> None:
    rows = frame().assign(z=lambda f: f["label"] * 3 + 1)

    gate = make_candidate(job(spec(), rows, trees), None).gate

    assert not gate.accepted
    assert "feature 'z' alone explains the label" in gate.reasons[0]


def test_on_linear_data_the_linear_model_is_trained_and_accepted(spec: Specs, frame: Frames, pipeline: Pipelines, job: Jobs) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    made = pipeline(lambda _: HistGradientBoostingRegressor(max_iter=20, random_state=0))

    done = make_candidate(job(spec("regression"), frame("regression", linear=True), made), None)

    assert (done.fitted.family, done.gate.accepted) == ("simple", True)
    assert done.gate.scores["simple"] == done.gate.scores["challenger"]


def test_retraining_on_much_more_data_is_promoted_over_a_starved_champion(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    rows = frame(rows=3000)
    starved = champion_of(make_candidate(job(spec(gate={"min_rows": 10}), rows.head(150), trees), None))

    done = make_candidate(job(spec(), rows, trees), starved)

    assert done.gate.accepted, done.gate.reasons
    assert done.gate.champion == starved.version
    assert done.gate.scores["challenger"] > done.gate.scores["champion"]


def test_only_rows_later_than_the_cutoff_of_both_judge(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    one = job(spec(), frame(), trees)
    done = make_candidate(one, None)
    newest, cutoff = done.fitted.seen_until, done.fitted.cutoff

    later = gate_stage(one, done.fitted, champion_of(done, cutoff=cutoff + timedelta(days=2)))
    none = gate_stage(one, done.fitted, champion_of(done, cutoff=newest))

    assert done.gate.rows == 300
    assert 180 <= later.rows <= 220
    assert (none.accepted, none.rows) == (False, 0)
    assert "no row is later than" in none.reasons[0]


def test_a_champion_is_asked_in_the_form_of_its_own_contract(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    rows = frame()
    old = champion_of(make_candidate(job(spec(), rows, trees), None))
    without_city = {"x": Feature(type="number"), "z": Feature(type="number")}
    new = job(spec(features=without_city), rows, ModuleType("unused"))
    fitted = make_candidate(job(spec(features=without_city), rows[["x", "z", "event_time", "label"]], _no_city(trees)), None).fitted

    def gone(model: ModelSpec) -> pd.DataFrame:
        if "city" in model.features:
            raise SpecError("pipeline.py", ["features() returns no column 'city'"])
        return rows

    kept = gate_stage(new, fitted, old)
    lost = gate_stage(Job(new.spec, gone, new.snapshot, new.pipeline, new.code, new.store), fitted, old)

    assert "champion" in kept.scores
    assert not lost.accepted
    assert "the champion cannot be asked about today's rows" in lost.reasons[0]
    assert "'city'" in lost.reasons[0]


def _no_city(trees: ModuleType) -> ModuleType:
    from sklearn.pipeline import Pipeline

    trees.build = lambda _: Pipeline([("model", HistGradientBoostingClassifier(max_iter=5, random_state=0))])
    return trees


def test_a_champion_of_another_task_refuses_the_challenger(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    binary = champion_of(make_candidate(job(spec(), frame(), trees), None))
    other = job(spec("multiclass"), frame("multiclass"), trees)

    gate = make_candidate(other, binary).gate

    assert not gate.accepted
    assert "task or classes differ" in gate.reasons[0]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_small_and_odd_data_give_an_outcome_or_a_clear_error(spec: Specs, frame: Frames, pipeline: Pipelines, job: Jobs, task: str) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    made = pipeline(lambda _: kind(max_iter=5, early_stopping=False, random_state=0))
    small = frame(task, rows=300)
    odd = {
        "a row a second": small.assign(event_time=pd.date_range("1970-01-01", periods=300, freq="s")),
        "a constant column": small.assign(x=1.0),
        "nothing in a column": small.assign(x=np.nan),
        "ids": small.assign(city=[f"id{i}" for i in range(300)]),
        "large numbers": small.assign(x=small["x"] * 1e15),
        "few rows": small.head(40),
    }
    for name, rows in odd.items():
        gate = make_candidate(job(spec(task, gate={"block": "row", "min_rows": 30}), rows, made), None).gate
        assert gate.blocks == gate.rows == len(rows) // 5, name
        assert gate.reasons, name
    by_day = make_candidate(job(spec(task, gate={"min_rows": 30}), odd["a row a second"], made), None).gate
    assert not by_day.accepted
    assert f"fewer than {MIN_BLOCKS}" in by_day.reasons[0]
    with pytest.raises(TrainingError):
        make_candidate(job(spec(task), small.head(1), made), None)


def test_a_hold_out_of_one_class_stops_training(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    rows = frame()

    with pytest.raises(TrainingError, match="300 hold-out rows hold one class only"):
        make_candidate(job(spec(), rows.assign(label=rows["label"].where(rows.index < 1200, 1.0)), trees), None)


def test_blocks_of_entities_need_an_entity(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    rows, by_entity = frame(), spec(gate={"block": "entity"})

    with pytest.raises(SpecError, match="names no entity"):
        make_candidate(job(by_entity, rows, trees), None)

    done = make_candidate(job(by_entity, rows.assign(entity=lambda f: [f"e{i % 50}" for i in f.index]), trees), None)
    assert (done.gate.blocks, done.gate.accepted) == (50, True)


PROJECT = {
    "expectations/rides/dataset.toml": """
        time = "at"
        entity = ["rider"]
        outcome = ["late"]
        period = "all"
        """,
    "bentos/rides_late/model.toml": """
        dataset = "rides"
        task = "binary"
        seed = 3
        label = { column = "late", positive = "True" }
        search = { trials = 2 }
        gate = { metric = "roc_auc", draws = 100 }
        features = { km = { type = "number" }, city = { type = "category" } }
        """,
    "bentos/rides_late/pipeline.py": """
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OrdinalEncoder

        def features(raw):
            return raw[["km", "city"]]

        def build(params):
            ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
            encode = ColumnTransformer([("city", ordinal, ["city"]), ("km", "passthrough", ["km"])])
            categorical = [0] if params["family"] == "sklearn" else None  # has no right conversion to ONNX
            trees = HistGradientBoostingClassifier(max_iter=20, max_features=0.5, categorical_features=categorical, random_state=params["seed"])
            return Pipeline([("encode", encode), ("model", trees)])

        def space(trial):
            return {"family": trial.suggest_categorical("family", [FAMILY])}
        """,
}
TRAIN = """
    import io, json, sys
    from pathlib import Path
    import numpy as np, pandas as pd
    from tasks.data.snapshot import frames_of, take
    from tasks.ledger.chain import Entry
    from tasks.ledger.rows import BatchRow
    from tasks.project import Project
    from tasks.store import Store
    from tasks.training.job import training_job
    from tasks.training.stages import make_candidate

    project, store = Project(Path(sys.argv[1])), Store("file://" + sys.argv[2])
    rng, n = np.random.default_rng(0), 900
    at = pd.date_range("2024-01-01", periods=n, freq="h")
    raw = pd.DataFrame({"at": at, "event_time": at, "rider": [f"r{i % 7}" for i in range(n)]})
    raw["km"], raw["city"] = rng.exponential(5, n).round(2), rng.choice(list("abcdef"), n)
    raw["late"] = (np.sin(raw["km"]) + raw["city"].isin(["b", "e"]) * 1.0 + rng.normal(scale=0.3, size=n)) > 0.6
    buffer = io.BytesIO()
    raw.to_parquet(buffer, index=False)
    batch = BatchRow(dataset="rides", batch="all-1", verdict="accepted", ref=str(store.put(buffer.getvalue(), ".parquet")))
    dataset = project.dataset("rides")
    snapshot = take([Entry(1, "h", batch)], dataset, store)
    for family in ("onnx", "sklearn"):
        project.pipeline("rides_late").FAMILY = family
        frames = frames_of(snapshot, dataset, project, store)
        done = make_candidate(training_job(project.model("rides_late"), frames, snapshot.ref, project, store), None)
        made = done.fitted
        print(json.dumps([made.format, done.gate.accepted, made.prediction_digest, *map(str, (made.artefact, made.reference, snapshot.ref))]))
    """


def test_trained_twice_from_one_snapshot_in_two_processes_the_model_is_the_same(tmp_path: Path) -> None:
    """To the byte: predictions, artefact and reference rows, for both formats, whatever the order of Python's sets."""
    for name, text in PROJECT.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    def start(seed: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", dedent(TRAIN), str(tmp_path / "project"), str(tmp_path / f"store{seed}")]
        return subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(process: "subprocess.Popen[str]") -> list[Any]:
        said, problem = process.communicate(timeout=270)
        assert process.returncode == 0, problem
        return [json.loads(line) for line in said.splitlines()]

    first, again = map(lines, [start("1"), start("6")])  # two seeds under which a set of the ONNX domains has two orders

    assert first == again
    assert [(form, accepted) for form, accepted, *_ in first] == [("onnx", True), ("sklearn", True)]


def test_settings_of_one_training_are_put_over_the_spec(spec: Specs, frame: Frames, trees: ModuleType, job: Jobs) -> None:
    class Here:
        """The two things that a job asks of a project."""

        def pipeline(self, _: str) -> ModuleType:
            return trees

        def code_digest(self, _: str) -> str:
            return "c"

    one = job(spec(search=Search(trials=9, rows=400)), frame(), trees)

    def spec_with(settings: TrainingSettings | None) -> ModelSpec:
        return training_job(one.spec, one.frames, one.snapshot, Here(), one.store, settings).spec  # type: ignore[arg-type]

    assert spec_with(None) == spec_with(TrainingSettings()) == one.spec
    changed = spec_with(TrainingSettings(trials=3, rows=100, seed=0))
    assert (changed.search.trials, changed.search.rows, changed.seed) == (3, 100, 0)
