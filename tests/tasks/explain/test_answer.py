"""An answered row is replayed step by step; what is said of it adds up, and says so when today's replay is another."""

import io
import json
import math
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from trained import MODELS, endpoint, rides, train_all

from bentos.runtime.lines import PredictionLine
from tasks.errors import StoreError
from tasks.explain.answer import Replayed, replayed
from tasks.explain.pipeline import ReplayError
from tasks.installation import Installation
from tasks.ledger.questions import champion
from tasks.ledger.rows import VersionRow
from tasks.store import Ref

ROW = {"km": 2.5, "age": None, "city": "b", "tariff": "night", "shared": True, "hour": 13}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return train_all(tmp_path_factory.mktemp("rides"))


def version(here: Installation, model: str) -> VersionRow:
    found = champion(here.ledger.read(), model)
    assert found is not None
    return found


def answered(here: Installation, model: str, log: Path, row: dict[str, Any] = ROW) -> PredictionLine:
    """The line that the endpoint wrote for a row."""
    asked = endpoint(here, model, log)
    asked.predict(json.dumps({"rows": [row]}).encode())
    asked.close()
    [path] = (log / model / "predictions").glob("*.jsonl")
    return PredictionLine.model_validate_json(path.read_text().splitlines()[-1])


def explained(here: Installation, model: str, log: Path, **row: Any) -> Replayed:
    return replayed(answered(here, model, log, ROW | row), version(here, model), here.store)


@pytest.mark.parametrize("model", MODELS)
def test_todays_replay_equals_what_was_answered(here: Installation, tmp_path: Path, model: str) -> None:
    replay = explained(here, model, tmp_path)

    assert replay.equal
    assert replay.served == replay.answered, "the same bytes on the same machine"
    assert replay.pipeline_off < 1e-5
    assert replay.format == ("sklearn" if model == "rides_pickled" else "onnx")
    assert replay.row == ROW


def test_every_step_is_told_with_what_it_made_of_the_row(here: Installation, tmp_path: Path) -> None:
    trees, linear = explained(here, "rides_late", tmp_path), explained(here, "rides_paid", tmp_path)

    encoded = {"text__city": 1.0, "text__tariff": 1.0, "numbers__km": 2.5, "numbers__age": None, "numbers__shared": 1.0, "numbers__hour": 13.0}
    assert [(step.name, step.kind) for step in trees.steps] == [("encode", "ColumnTransformer"), ("model", "HistGradientBoostingClassifier")]
    assert trees.steps[0].values == encoded
    assert trees.steps[1].values["predict_proba[1]"] == trees.pipeline
    assert [step.name for step in linear.steps] == ["encode/numbers/fill", "encode/numbers/scale", "encode", "model"]
    assert linear.steps[0].values["age"] is not None, "filled with the median"
    assert linear.steps[2].values["categories__city_b"] == 1
    assert linear.steps[3].values == {"predict": linear.pipeline}


def test_contributions_of_a_linear_model_add_up_to_its_output(here: Installation, tmp_path: Path) -> None:
    replay = explained(here, "rides_paid", tmp_path)
    found = replay.contributions

    assert (found.method, found.of) == ("linear", "predict")
    assert found.intercept is not None
    assert found.intercept + sum(each.amount for each in found.each) == pytest.approx(replay.pipeline)
    night = {each.name: each.amount for each in found.each}["categories__tariff_night"]
    assert night == pytest.approx(1, abs=0.1), "half of the 2 that a night costs; `day` has the other half"


def test_contributions_to_a_logistic_model_add_up_to_its_log_odds(here: Installation, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from bentos.runtime.card import Card
    from bentos.runtime.scoring import Scorer
    from tasks.explain.contributions import contributions
    from tasks.explain.steps import replay

    frame = pd.DataFrame({"km": [1.0, 2.0, 3.0, 4.0], "hour": [3.0, 1.0, 2.0, 5.0]})
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, [0, 1, 0, 1])
    row = frame.iloc[[1]]

    class Fitted:
        def of_rows(self, rows: Any) -> Any:
            return pipeline.predict_proba(pd.DataFrame(list(rows)))[:, 1]

    card = Card.load(here.store.get_tree(Ref.parse(version(here, "rides_late").artefact), tmp_path / "artefact"))
    found = contributions(Scorer(card, Fitted()), pipeline, replay(pipeline, row)[1], row.iloc[0].to_dict(), None)  # type: ignore[arg-type]

    assert found.intercept is not None
    odds = found.intercept + sum(each.amount for each in found.each)
    assert 1 / (1 + math.exp(-odds)) == pytest.approx(pipeline.predict_proba(row)[0, 1])
    assert {each.name for each in found.each} == {"km", "hour"}


@pytest.mark.parametrize("model", ["rides_late", "rides_grade", "rides_pickled"])
def test_of_other_models_each_feature_is_replaced_by_what_is_ordinary_in_training(here: Installation, tmp_path: Path, model: str) -> None:
    replay = explained(here, model, tmp_path)
    found = replay.contributions
    reference = pd.read_parquet(io.BytesIO(here.store.get(Ref.parse(version(here, model).reference))))
    each = {one.name: one for one in found.each}

    assert found.method == "replacement"
    assert set(each) == set(ROW)
    assert each["km"].reference == pytest.approx(reference["km"].median(), rel=0.05)
    assert each["city"].reference == reference["city"].mode()[0]
    assert isinstance(each["shared"].reference, bool)
    again = explained(here, model, tmp_path / "again", km=each["km"].reference)
    place = int(np.argmax(replay.pipeline)) if isinstance(replay.pipeline, list) else None
    before, after = (score.pipeline if place is None else score.pipeline[place] for score in (replay, again))
    assert each["km"].amount == pytest.approx(before - after)
    assert abs(found.each[0].amount) == max(abs(one.amount) for one in found.each)


def test_an_ordinary_row_owes_nothing_to_any_feature(here: Installation, tmp_path: Path) -> None:
    ordinary = {one.name: one.reference for one in explained(here, "rides_late", tmp_path).contributions.each}

    assert {one.amount for one in explained(here, "rides_late", tmp_path / "again", **ordinary).contributions.each} == {0.0}


@pytest.mark.parametrize("model", MODELS)
def test_another_score_than_the_answered_one_is_not_called_equal(here: Installation, tmp_path: Path, model: str) -> None:
    line = answered(here, model, tmp_path)
    other = [line.score[0] + 0.01, *line.score[1:]] if isinstance(line.score, list) else line.score + 0.01

    replay = replayed(line.model_copy(update={"score": other}), version(here, model), here.store)

    assert not replay.equal
    assert replay.served != replay.answered


def test_a_feature_that_the_log_does_not_hold_is_named(here: Installation, tmp_path: Path) -> None:
    line = answered(here, "rides_late", tmp_path)

    replay = replayed(line.model_copy(update={"row": {name: value for name, value in ROW.items() if name != "age"}}), version(here, "rides_late"), here.store)

    assert replay.missing == ("age",)


def test_a_pipeline_whose_bytes_were_changed_is_not_opened(here: Installation, tmp_path: Path) -> None:
    line, row = answered(here, "rides_late", tmp_path), version(here, "rides_late")

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "opened",)

    path = here.settings.root / "store" / Ref.parse(row.pipeline).key
    kept = path.read_bytes()
    path.chmod(0o644)
    joblib.dump(Trap(), path)
    try:
        with pytest.raises(StoreError, match="nothing was loaded from it"):
            replayed(line, row, here.store)
    finally:
        path.write_bytes(kept)
    assert not (tmp_path / "opened").exists()


def test_a_version_whose_pipeline_was_not_kept_says_so(here: Installation, tmp_path: Path) -> None:
    line, row = answered(here, "rides_late", tmp_path), version(here, "rides_late")

    with pytest.raises(ReplayError, match="its pipeline was not kept"):
        replayed(line, row.model_copy(update={"pipeline": ""}), here.store)


def test_a_pipeline_that_todays_code_does_not_open_names_the_code_to_go_back_to(here: Installation, tmp_path: Path) -> None:
    line, row = answered(here, "rides_late", tmp_path), version(here, "rides_late")
    gone = here.store.put(b"cbentos.rides_late.pipeline\nGone\n.", ".pkl")

    with pytest.raises(ReplayError, match=r"today's code does not open its pipeline \(AttributeError.*Check out"):
        replayed(line, row.model_copy(update={"pipeline": str(gone)}), here.store)


def test_new_raw_rows_replay_equal_as_well(here: Installation, tmp_path: Path) -> None:
    raw = rides(25, seed=9)
    frame = here.project.pipeline("rides_late").features(raw)
    for place in range(0, 25, 5):
        row = {name: None if pd.isna(value) else value for name, value in json.loads(frame.iloc[place].to_json()).items()}
        assert explained(here, "rides_late", tmp_path / str(place), **row).equal
