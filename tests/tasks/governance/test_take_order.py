"""What a training holds when it begins, also when it begins a second time. Prefect only lends the run's id."""

from pathlib import Path

import pytest
from factories import batch, day, proposal, version
from standins import make_place

from tasks import handoff
from tasks.errors import AppendRefusedError
from tasks.governance.decision import propose
from tasks.governance.pursuit import close, grant, now_utc, register
from tasks.governance.steps import hand_over, take_order
from tasks.installation import Installation
from tasks.ledger.questions import attempts, open_decisions, retrain_decisions
from tasks.ledger.rows import Trigger
from tasks.order import Order, TrainingSettings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    place = make_place(tmp_path)
    monkeypatch.setenv("RATCHET_PROJECT", str(place.project))
    monkeypatch.setenv("RATCHET_HOME", str(place.home))
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "run-1")
    found = Installation.of()
    found.ledger.append(batch("2013-05", day(30)))
    return found


def begin(decision: str = "", attempt: int = 0, trigger: Trigger = "on_demand") -> Order:
    return take_order.fn("late", trigger, decision, attempt, TrainingSettings(), "none")


def test_a_run_without_a_decision_proposes_and_holds_the_first_attempt(here: Installation) -> None:
    order = begin()

    assert (order.decision, order.attempt, order.run, order.refused) == ("late-2", 1, "run-1", "")
    assert [(held.attempt, held.run) for held in attempts(here.ledger.read(), "late-2")] == [(1, "run-1")]


def test_started_again_it_takes_up_what_it_proposed_and_proposes_nothing_more(here: Installation) -> None:
    first = begin()

    assert begin() == first
    assert len(retrain_decisions(here.ledger.read(), "late")) == len(attempts(here.ledger.read(), first.decision)) == 1


def test_a_reconcile_that_comes_right_behind_the_decision_starts_no_second_training(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handoff, "tag", lambda *_: reconciled.extend(hand_over.fn("late")))
    monkeypatch.setattr(handoff, "state_of", lambda _key, run: "alive" if run == "run-1" else "unknown")
    monkeypatch.setattr(handoff, "start", lambda *_, **__: "run-2")
    reconciled: list[str] = []

    order = take_order.fn("late", "on_demand", "", 0, TrainingSettings(), "shuffled_labels")  # a drill waits for no rows

    assert (order.refused, reconciled) == ("", [])
    assert [held.run for held in attempts(here.ledger.read(), order.decision)] == ["run-1"]


def test_started_again_it_trains_nothing_when_another_attempt_took_over(here: Installation) -> None:
    decision = begin().decision
    grant(here.ledger, here.project.model("late"), decision, 1, now_utc(), 60)

    assert "attempt 2 has taken over" in begin().refused
    assert len(open_decisions(here.ledger.read(), "late")) == 1


def test_started_again_it_trains_nothing_when_its_decision_has_its_version(here: Installation) -> None:
    register(here.ledger, version(begin().decision))

    assert "it has given version 20130501-aaaaaaaa already" in begin().refused


def test_started_again_after_its_decision_ended_it_decides_nothing_new(here: Installation) -> None:
    decision = begin().decision
    close(here.ledger, "late", decision, "failed", "no rows")

    assert "it has ended" in begin().refused
    assert len(retrain_decisions(here.ledger.read(), "late")) == 1


def test_another_run_does_not_take_it_up(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = begin().decision
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "run-2")

    assert f"decision {decision} is still open" in begin().refused


def test_a_given_attempt_is_held_until_it_has_its_version(here: Installation) -> None:
    spec = here.project.model("late")
    decision = propose(here.ledger, spec, proposal(window="2013-05", at=day(31))).decision
    grant(here.ledger, spec, decision, 0, now_utc(), 60)

    assert begin(decision, 1) == begin(decision, 1)
    register(here.ledger, version(decision))
    with pytest.raises(AppendRefusedError, match="it has given version 20130501-aaaaaaaa already"):
        begin(decision, 1)


def test_on_a_cluster_an_attempt_is_held_as_long_as_its_pod_may_run(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_TARGET", "kubernetes")
    decision = begin().decision

    [held] = attempts(here.ledger.read(), decision)
    assert (held.lease_until - now_utc()).total_seconds() > here.project.model("late").training.deadline_seconds
