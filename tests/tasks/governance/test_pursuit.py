"""Executions happen at least once, effects exactly once."""

from datetime import timedelta
from typing import Literal

import pytest
from factories import batch, day, proposal, version

from tasks.errors import AppendRefusedError
from tasks.governance.decision import propose
from tasks.governance.pursuit import NextRun, close, give_up, grant, now_utc, pursue, register
from tasks.ledger.chain import Ledger
from tasks.ledger.questions import attempts, open_decisions, rows
from tasks.ledger.rows import ClosedRow, DecisionRow, ReleaseRow, VersionRow
from tasks.spec import ModelSpec

State = Literal["unknown", "alive", "dead"]


def next_run(ledger: Ledger, spec: ModelSpec, decision: DecisionRow, late_by: timedelta = timedelta(0), **states: State) -> NextRun | None:
    """Pursue with the runs' states given by their id, or the last part of their key: a1 for attempt 1, r1 for release 1."""

    def state(key: str, run: str) -> State:
        short = run or ("r" if key.startswith("release:") else "a") + key.rpartition(":")[2]
        return states.get(short, "unknown")

    return pursue(ledger, spec, decision, now_utc() + late_by, lease_seconds=60, max_attempts=2, state=state)


@pytest.fixture
def decision(ledger: Ledger, spec: ModelSpec) -> DecisionRow:
    ledger.append(batch("2013-05", day(30)))
    return propose(ledger, spec, proposal(window="2013-05", at=day(31)))


def test_a_decision_is_granted_its_first_attempt_and_started(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    found = next_run(ledger, spec, decision)

    assert found is not None
    assert (found.deployment, found.key, found.parameters["attempt"]) == ("train/late", f"{decision.decision}:1", 1)
    assert len(attempts(ledger.read(), decision.decision)) == 1


def test_a_grant_whose_run_was_never_started_is_started_under_the_same_key(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    first, second = next_run(ledger, spec, decision), next_run(ledger, spec, decision)

    assert first == second
    assert len(attempts(ledger.read(), decision.decision)) == 1


def test_a_run_under_way_is_left_alone_until_its_lease_ends(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)

    assert next_run(ledger, spec, decision, a1="alive") is None
    taken_over = next_run(ledger, spec, decision, late_by=timedelta(seconds=61), a1="alive")
    assert taken_over is not None
    assert taken_over.parameters["attempt"] == 2


def test_a_run_that_proposes_holds_the_first_attempt_from_the_first_moment(ledger: Ledger, spec: ModelSpec) -> None:
    ledger.append(batch("2013-05", day(30)))
    asked = proposal("on_demand").model_copy(update={"run": "own"})

    decision = propose(ledger, spec, asked, lease_until=now_utc() + timedelta(seconds=60))

    [held] = attempts(ledger.read(), decision.decision)
    assert (held.attempt, held.run) == (1, "own")
    assert next_run(ledger, spec, decision, own="alive") is None, "whoever looks for open decisions starts no second run"
    followed = next_run(ledger, spec, decision, own="dead")
    assert followed is not None
    assert followed.parameters["attempt"] == 2


def test_a_proposal_that_is_ignored_gives_its_run_no_attempt(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    refused = propose(ledger, spec, proposal("on_demand"), lease_until=now_utc() + timedelta(seconds=60))

    assert refused.action == "ignore"
    assert attempts(ledger.read(), decision.decision) == attempts(ledger.read(), refused.decision) == []


def test_a_killed_run_is_followed_by_another_attempt_and_the_orphans_version_is_refused(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    next_run(ledger, spec, decision, a1="dead")
    register(ledger, version(decision.decision, attempt=2))

    with pytest.raises(AppendRefusedError, match="has given version"):
        register(ledger, version(decision.decision, attempt=1))
    assert len(rows(ledger.read(), VersionRow)) == 1


def test_an_orphan_that_lost_the_fence_cannot_register_first(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    next_run(ledger, spec, decision, a1="dead")

    with pytest.raises(AppendRefusedError, match="lost the fence"):
        register(ledger, version(decision.decision, attempt=1))


def test_two_grants_of_the_same_attempt_are_one(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    grant(ledger, spec, decision.decision, 0, now_utc(), 60)

    with pytest.raises(AppendRefusedError, match="granted already"):
        grant(ledger, spec, decision.decision, 0, now_utc(), 60)


def test_after_the_last_attempt_the_decision_is_closed_as_failed(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    next_run(ledger, spec, decision, a1="dead")

    assert next_run(ledger, spec, decision, a1="dead", a2="dead") is None
    assert rows(ledger.read(), ClosedRow)[0].outcome == "failed"


def test_an_accepted_version_is_released_and_a_dead_release_run_again(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    register(ledger, version(decision.decision))

    first, under_way, again = next_run(ledger, spec, decision), next_run(ledger, spec, decision, r1="alive"), next_run(ledger, spec, decision, r1="dead")

    assert first is not None
    assert first.deployment == "release/late"
    assert under_way is None
    assert again is not None
    assert again.key == f"release:{decision.decision}:2"


def test_a_refused_version_closes_its_decision(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    register(ledger, version(decision.decision, accepted=False))

    assert open_decisions(ledger.read(), "late") == []
    assert next_run(ledger, spec, decision) is None


def test_a_decision_waits_for_rows_the_champion_has_not_seen(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    register(ledger, version(decision.decision, seen_until=day(30)))
    ledger.append(ReleaseRow(model="late", release="r1", version="20130501-aaaaaaaa", step="live", reason="first", decision=decision.decision))
    close(ledger, "late", decision.decision, "promoted", "better")
    waiting = propose(ledger, spec, proposal("on_demand"))

    assert next_run(ledger, spec, waiting) is None
    ledger.append(batch("2013-06", day(31)))
    assert next_run(ledger, spec, waiting) is not None


def test_a_release_run_that_ended_its_decision_while_it_was_asked_after_is_followed_by_none(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    register(ledger, version(decision.decision))

    def ended(key: str, _run: str) -> State:
        close(ledger, "late", decision.decision, "promoted", "better")
        return "dead" if key.endswith(":1") else "unknown"

    assert pursue(ledger, spec, decision, now_utc(), lease_seconds=60, max_attempts=2, state=ended) is None


def test_a_last_attempt_that_gave_a_version_while_it_was_asked_after_does_not_fail(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)

    def registered(_key: str, _run: str) -> State:
        register(ledger, version(decision.decision))
        return "dead"

    assert pursue(ledger, spec, decision, now_utc(), lease_seconds=60, max_attempts=1, state=registered) is None
    assert rows(ledger.read(), ClosedRow) == []


def test_an_attempt_that_raised_an_error_ends_its_decision(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)

    assert give_up(ledger, "late", decision.decision, 1, "one class only", "run")
    assert rows(ledger.read(), ClosedRow)[0].reason == "one class only"


def test_an_orphans_error_ends_nothing_once_another_attempt_or_a_version_is_there(ledger: Ledger, spec: ModelSpec, decision: DecisionRow) -> None:
    next_run(ledger, spec, decision)
    next_run(ledger, spec, decision, a1="dead")

    assert not give_up(ledger, "late", decision.decision, 1, "lost the fence", "orphan")
    register(ledger, version(decision.decision, attempt=2))
    assert not give_up(ledger, "late", decision.decision, 2, "late trouble", "run")
    assert [d.decision for d in open_decisions(ledger.read(), "late")] == [decision.decision]
