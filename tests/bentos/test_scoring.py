"""The model that is evaluated is the model that is served: one scorer for frames and for request rows, in every task and format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bentos.runtime.card import Card, request_rows, seen_in
from bentos.runtime.contract import Contract
from bentos.runtime.scoring import Scorer

TASKS = ["binary", "regression", "multiclass"]
Artefact = Callable[[str, str], Path]


def sample(contract: Contract) -> pd.DataFrame:
    raw = {
        "carrier": ["UA", "DL", "new", "B6"],
        "origin": ["JFK", "EWR", "LGA", "JFK"],
        "Seats (n)": [100, None, 9999, 20],
        "temp": [None, 40.0, 60.0, -500.0],
        "distance": [500.0, 2000.0, 900.0, 1.0],
        "weekend": [True, False, None, True],
    }
    return contract.frame(pd.DataFrame(raw))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["onnx", "sklearn"])
def test_rows_of_a_request_score_as_the_same_rows_of_a_frame(artefact: Artefact, task: str, kind: str) -> None:
    scorer = Scorer.load(artefact(task, kind))
    frame = sample(scorer.card.contract)

    by_frame = scorer.score(frame)
    by_rows = scorer.score_rows(request_rows(frame, scorer.card.contract))

    assert by_frame.shape == ((4, 3) if task == "multiclass" else (4,))
    np.testing.assert_array_equal(np.asarray(by_rows), by_frame)


@pytest.mark.parametrize("task", TASKS)
def test_onnx_scores_as_scikit_learn_does(artefact: Artefact, task: str) -> None:
    onnx, sklearn = Scorer.load(artefact(task, "onnx")), Scorer.load(artefact(task, "sklearn"))
    frame = sample(onnx.card.contract)

    np.testing.assert_allclose(onnx.score(frame), sklearn.score(frame), rtol=1e-5, atol=1e-5)


def test_multiclass_scores_come_in_the_order_of_the_contract(artefact: Artefact) -> None:
    scorer = Scorer.load(artefact("multiclass", "sklearn"))
    frame = sample(scorer.card.contract)

    own = scorer.scores.of_frame(frame)  # dry, icy, wet
    scores = scorer.score(frame)  # wet, dry, icy

    np.testing.assert_array_equal(scores, own[:, [2, 0, 1]])
    assert scorer.decide([0.1, 0.2, 0.7]) == "icy"


def test_a_class_that_training_never_saw_gets_no_probability(artefact: Artefact) -> None:
    whole = Scorer.load(artefact("multiclass", "onnx"))
    contract = whole.card.contract.model_copy(update={"classes": ("wet", "hail", "dry", "icy")})

    scorer = Scorer(whole.card.model_copy(update={"contract": contract, "columns": ("dry", "icy", "wet")}), whole.scores)

    assert scorer.score(sample(contract))[:, 1].tolist() == [0, 0, 0, 0]


def test_a_binary_score_is_decided_at_the_contract_s_threshold(artefact: Artefact) -> None:
    scorer = Scorer.load(artefact("binary", "onnx"))

    assert [scorer.decide(0.49), scorer.decide(0.5)] == [False, True]


def test_a_regression_s_prediction_is_its_score(artefact: Artefact) -> None:
    assert Scorer.load(artefact("regression", "onnx")).decide(12.5) == 12.5


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, []),
        ({"carrier": "ZZ"}, ["unseen:carrier"]),
        ({"origin": "LGA"}, ["unseen:origin"]),
        ({"distance": 1e6, "temp": -500.0}, ["range:temp", "range:distance"]),
        ({"temp": None, "Seats (n)": None}, []),
    ],
)
def test_what_training_did_not_see_is_flagged_and_nulls_are_not(artefact: Artefact, row: dict[str, Any], change: dict[str, Any], flags: list[str]) -> None:
    scorer = Scorer.load(artefact("binary", "onnx"))

    assert scorer.flags(row | change) == flags
    assert set(flags) <= set(scorer.possible_flags)


def test_a_feature_of_nulls_only_flags_every_number(artefact: Artefact) -> None:
    contract = Scorer.load(artefact("binary", "onnx")).card.contract

    seen = seen_in(sample(contract).assign(temp=np.nan), contract)

    assert seen["temp"].low is None
    assert seen["carrier"].values == ("B6", "DL", "UA", "new")


def test_a_card_survives_its_file_and_holds_no_nan(artefact: Artefact, tmp_path: Path) -> None:
    card = Card.load(artefact("binary", "onnx"))

    card.save(tmp_path)

    assert Card.load(tmp_path) == card
    json.loads((tmp_path / "card.json").read_text(), parse_constant=pytest.fail)


def test_the_rows_a_caller_would_send_have_json_s_types(artefact: Artefact) -> None:
    contract = Card.load(artefact("binary", "onnx")).contract

    rows = request_rows(sample(contract), contract)

    assert rows[0] == {"carrier": "UA", "origin": "JFK", "Seats (n)": 100.0, "temp": None, "distance": 500.0, "weekend": True}
    assert rows[2]["weekend"] is None
