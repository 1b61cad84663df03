"""A row with personal columns is replayed only with the values that were sent, and their hashes say whether they are."""

from typing import Any

import pytest

from bentos.runtime.contract import Contract, Feature
from bentos.runtime.lines import PredictionLine, hash_of
from tasks.explain.withheld import WithheldError, completed

KEY = "k1"
EMAIL, PHONE = "alice@example.com", 123456.0
FEATURES = {
    "km": Feature(type="number"),
    "email": Feature(type="category", log="hash"),
    "phone": Feature(type="integer", nullable=True, log="omit"),
}
CONTRACT = Contract(name="late", task="binary", features=FEATURES)


def line(**row: Any) -> PredictionLine:
    """An answered row as the log holds it."""
    times = {"event_time": "2024-01-01T00:00:00+00:00", "wall_time": "2024-01-01T00:00:00+00:00"}
    held = {"km": 2.5, "email": hash_of(EMAIL, KEY.encode())} | row
    return PredictionLine(id="id-1", model="late", version="v1", release="r1", row=held, score=0.5, prediction=True, **times)


def test_a_row_that_is_withheld_in_part_says_what_is_missing_and_who_knows_more() -> None:
    with pytest.raises(WithheldError) as told:
        completed(line(), CONTRACT, {}, KEY)

    assert "Row id-1 of 'late' cannot be replayed: the prediction log holds email only as a hash, phone not at all" in str(told.value)
    assert "`ratchet why id-1`" in str(told.value)
    assert "--row FILE" in str(told.value)


def test_with_the_values_that_were_sent_it_is_whole_again() -> None:
    assert completed(line(), CONTRACT, {"email": EMAIL, "phone": 123456}, KEY) == {"km": 2.5, "email": EMAIL, "phone": PHONE}


def test_a_hashed_value_that_was_null_need_not_be_given() -> None:
    contract = CONTRACT.model_copy(update={"features": FEATURES | {"email": Feature(type="category", nullable=True, log="hash")}})

    assert completed(line(email=None), contract, {"phone": None}, KEY) == {"km": 2.5, "email": None, "phone": None}


def test_another_value_than_was_sent_is_refused_and_not_shown() -> None:
    with pytest.raises(WithheldError, match="email was given with another value than was sent") as told:
        completed(line(), CONTRACT, {"email": "bob@example.com", "phone": 1}, KEY)

    assert "bob" not in str(told.value)
    assert completed(line(), CONTRACT, {"email": "bob@example.com", "phone": 1}, "")["email"] == "bob@example.com", "without the key nobody can tell"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"email": EMAIL}, "holds phone not at all"),
        ({"email": EMAIL, "phone": 1, "km": 3}, "km was given and is not withheld"),
        ({"email": EMAIL, "phone": "secret"}, r"no such row \(phone: Input should be a valid number\)"),
    ],
)
def test_what_is_given_is_all_that_is_withheld_and_nothing_else(given: dict[str, Any], found: str) -> None:
    with pytest.raises(WithheldError, match=found) as told:
        completed(line(), CONTRACT, given, KEY)

    assert "secret" not in str(told.value)


def test_a_row_that_is_logged_whole_is_as_it_was() -> None:
    plain = CONTRACT.model_copy(update={"features": {"km": FEATURES["km"]}})

    assert completed(line(), plain, {}, "") == line().row
