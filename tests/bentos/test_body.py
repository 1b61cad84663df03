"""What a body may hold, and that bodies which never end share one room and leave none of it taken."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arriving import arriving

from bentos.runtime.body import CLOSE, HELD, LARGEST, MAX_BODY, Disconnected, Room, largest, read
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.errors import Refused
from bentos.runtime.patience import Patience

ROOT = Path(__file__).parents[2]


def part(size: int, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b" " * size, "more_body": more}


def reading(room: Room, *messages: dict[str, Any], most: int = 100) -> bytes:
    """The body that arrives in these messages, after which the caller is silent."""
    return asyncio.run(read(arriving(*messages), most, Patience(0.5), room))


WAYS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "whole": ([part(10), part(20), part(5, more=False)], ""),
    "whole in one piece": ([part(30, more=False)], ""),
    "too long": ([part(60), part(60)], "too_large"),
    "too long in its last piece": ([part(60), part(60, more=False)], "too_large"),
    "silent": ([part(60)], "slow"),
    "gone": ([part(60), {"type": "http.disconnect"}], "gone"),
    "no room": ([part(30), part(30)], "overloaded"),
}


@pytest.mark.parametrize(("messages", "end"), WAYS.values(), ids=WAYS.keys())
def test_however_a_body_ends_the_room_it_took_is_given_back(messages: list[dict[str, Any]], end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.runtime.patience.EVERY", 0.01)
    room, found = Room(), ""
    room.held = before = HELD - 50 if end == "overloaded" else 7

    try:
        assert len(reading(room, *messages)) == sum(len(message["body"]) for message in messages)
    except Refused as refused:
        found = refused.code if refused.headers == (CLOSE,) else "open"
    except Disconnected:
        found = "gone"

    assert (found, room.held) == (end, before)


def test_a_body_that_comes_in_one_piece_needs_no_room() -> None:
    full = Room()
    full.held = HELD

    assert reading(full, part(100, more=False)) == b" " * 100
    with pytest.raises(Refused, match="64,000,000 bytes already"):
        reading(full, part(1), part(1, more=False))


def numbers(count: int) -> Contract:
    return Contract(name="wide", task="regression", features={f"measurement_{i:02}": Feature(type="number") for i in range(count)})


@pytest.mark.parametrize("dumps", [json.dumps, lambda rows: json.dumps(rows, separators=(",", ":"))], ids=["spaces", "none"])
def test_as_many_rows_as_the_model_takes_fit_into_a_body(dumps: Callable[[Any], str]) -> None:
    row = dict.fromkeys(numbers(50).features, -1.2345678901234567e-100) | {"event_time": "2013-01-01T08:30:00.123456+00:00", "entity": "N" * 40}

    assert MAX_BODY < len(dumps({"rows": [row] * 1_000})) <= largest(numbers(50), 1_000)
    assert largest(numbers(50), 10_000) == LARGEST <= HELD // 4


@pytest.mark.parametrize("model", ["flights_late", "flights_airtime"])
def test_the_models_here_take_the_usual_limit(model: str) -> None:
    assert largest(Contract.load(ROOT / "bentos" / model / "model.toml"), 1_000) == MAX_BODY


def test_labels_of_as_many_rows_fit_too() -> None:
    label = {"id": "01a20d5c-8524-7047-ac7e-a4eda2751da1", "label": -1.2345678901234567e-100, "time": "2013-01-01T08:30:00.123456+00:00"}

    assert MAX_BODY < len(json.dumps({"labels": [label] * 10_000})) <= largest(numbers(1), 10_000)
