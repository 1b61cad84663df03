"""Which rows the two forms of a model are held against, and when they count as the same."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bentos.runtime.card import request_rows
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.rows import LIMIT, LONGEST, request_model
from tasks.training.parity import hard_rows, must_be_finite, parity_of

FEATURES = {
    "km": Feature(type="number"),
    "age": Feature(type="integer", nullable=True),
    "paid": Feature(type="boolean", nullable=True),
    "city": Feature(type="category"),
    "kind": Feature(type="category", nullable=True, closed=("bus", "car", "tram")),
}


@pytest.fixture
def contract() -> Contract:
    return Contract(name="rides", task="regression", features=FEATURES)


@pytest.fixture
def train() -> pd.DataFrame:
    """Rows without a null, without the category `tram`, and without a boolean that is false."""
    return pd.DataFrame({"km": [1.0, 2.0, 9.0] * 4, "age": [20.0, 30.0, 60.0] * 4, "paid": 1.0, "city": ["ams", "oslo"] * 6, "kind": ["bus", "car"] * 6})


def test_each_feature_is_odd_in_every_way_its_type_allows(contract: Contract, train: pd.DataFrame) -> None:
    hard = hard_rows(train, contract)

    def odd(name: str) -> list[object]:
        rows = hard[[str(what).startswith(f"{name} ") for what in hard.index]]
        return rows.groupby(level=0, sort=False)[name].first().tolist() + [np.nan] * bool(rows[name].isna().any())

    whole = [2.0**24 + 1, -(2.0**24) - 1, LIMIT, -LIMIT]
    assert odd("km") == [1.0, 9.0, -8.0, 18.0, 0.0, 1e-300, *whole]
    assert [value for value in odd("age") if value == value] == [20.0, 60.0, -21.0, 101.0, 0.0, *whole]
    assert [value for value in odd("paid") if value == value] == [1.0, 0.0]
    assert hard["age"].isna().any() and hard["paid"].isna().any()
    assert np.signbit(hard.loc["km at minus zero"]["km"].to_numpy()).all()
    assert odd("city") == ["never seen before", "Tromsø · 東京 ✈", "x" * LONGEST]
    assert odd("kind") == ["", "tram"]


def test_a_request_may_hold_each_hard_row(contract: Contract, train: pd.DataFrame) -> None:
    rows = request_rows(hard_rows(train, contract), contract)
    for row in rows:
        row["age"] = row["age"] if row["age"] is None else int(row["age"])

    assert len(request_model(contract, 1_000).model_validate({"rows": rows}).rows) == len(rows)  # type: ignore[attr-defined]


def test_only_a_number_that_no_training_held_may_have_no_score(contract: Contract, train: pd.DataFrame) -> None:
    hard = hard_rows(train, contract)

    assert set(hard.index[~must_be_finite(hard)]) == {
        f"{name} {what}"
        for name in ("km", "age")
        for what in ("at a whole number beyond float32", "at one below zero", "at the largest number", "at the smallest number")
    }


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda s: s + 9e-5, True),
        (lambda s: s + np.where(np.arange(2000) < 2, 9e-3, 0), True),  # one row in a thousand, not far
        (lambda s: s + np.where(np.arange(2000) < 3, 9e-3, 0), False),
        (lambda s: s + np.where(np.arange(2000) == 1999, 2e-2, 0), False),
        (lambda s: np.where(np.arange(2000) == 1999, np.nan, s), False),
    ],
)
def test_few_scores_may_be_a_little_off_and_none_far(change: Callable[[np.ndarray], np.ndarray], same: bool) -> None:
    expected = np.linspace(0, 1, 2000)

    assert parity_of(expected, change(expected), "binary", pd.Index(["km at the largest number"]))[0] is same


def test_what_is_allowed_is_said_and_the_odd_row_that_differs_most_is_named() -> None:
    expected = np.linspace(0, 1, 1000)
    found = expected + np.where(np.arange(1000) == 999, 0.25, 0)

    said = parity_of(expected, found, "binary", pd.Index(["km below its range", "km at the largest number"]))[1]

    assert said == "largest difference 0.25 with km at the largest number, allowed 0.01; 0.10% of the rows off by more than 0.0001, allowed 0.1%"


def test_a_huge_score_of_an_odd_row_does_not_widen_what_ordinary_rows_may_differ_by() -> None:
    """A linear model gives 1e30 where a request holds 1e30; the spread of the ordinary scores stays the scale."""
    expected = np.append(np.linspace(0, 1, 1000), 1e30)

    assert parity_of(expected, expected * (1 + 1e-6), "regression", pd.Index(["km at the largest number"]))[0]
    assert not parity_of(expected, np.append(expected[:-1] + 0.1, 1e30), "regression", pd.Index(["km at the largest number"]))[0]


def test_a_row_that_neither_form_can_score_is_the_same_in_both() -> None:
    expected, hard = np.append(np.linspace(0, 1, 1000), np.inf), pd.Index(["km at the largest number"])

    assert parity_of(expected, np.append(expected[:-1], np.nan), "regression", hard)[0]
    assert not parity_of(expected, np.append(expected[:-1], 1.0), "regression", hard)[0]
