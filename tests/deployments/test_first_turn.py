"""Waiting for the first models: when it ends, and what is said. Nothing here needs Prefect."""

import pytest
from factories import batch, day, version
from standins import Place

from deployments.first_turn import Told, until_live
from tasks.installation import Installation
from tasks.ledger.rows import ClosedRow, DecisionRow, ReleaseRow
from tasks.settings import Settings


class Listener:
    """A platform that only listens; a wait would never end."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)

    def pause(self, seconds: float) -> None:
        raise AssertionError(f"waits {seconds} s for nothing")


@pytest.fixture
def here(place: Place) -> Installation:
    return Installation.of(Settings(project=place.project, home=place.home))


def wait(here: Installation) -> list[str]:
    listener = Listener()
    until_live(listener, here, {"late": (here.project.model("late"), "")})  # type: ignore[arg-type]  # it only says and pauses
    return listener.heard


def decided(**more: object) -> DecisionRow:
    return DecisionRow.model_validate({"model": "late", "decision": "late-1", "trigger": "first", "action": "retrain", "reason": "first", "proposal": 1} | more)


def test_a_live_model_is_not_waited_for(here: Installation) -> None:
    here.ledger.append(version("late-1"), ReleaseRow(model="late", release="r", version="20130501-aaaaaaaa", step="live", reason="better"))

    assert wait(here) == ["late 20130501-aaaaaaaa is live"]


def test_a_model_that_the_gate_refused_is_told_with_the_reason(here: Installation) -> None:
    here.ledger.append(batch("2013-01", day(1)), decided(), ClosedRow(model="late", decision="late-1", outcome="refused", reason="not better than trivial"))

    assert wait(here) == ["late is not live: refused: not better than trivial"]


def test_a_decision_without_any_row_to_train_on_is_not_waited_for(here: Installation) -> None:
    here.ledger.append(decided())

    assert wait(here) == ["late is not live: decision late-1 waits for rows that may train"]


def test_with_nothing_under_way_it_says_so(here: Installation) -> None:
    assert wait(here) == ["late is not live: nothing is under way"]


def test_the_same_thing_is_not_said_twice_in_a_row() -> None:
    listener = Listener()
    told = Told(listener)  # type: ignore[arg-type]  # as above

    for text in ("a", "a", "b", "a"):
        told.say("late", text)

    assert listener.heard == ["a", "b", "a"]
