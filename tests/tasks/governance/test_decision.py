"""A trigger only proposes; what the engine refuses, and why, is in the ledger."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from factories import batch, day, proposal, version

from tasks.errors import AppendRefusedError
from tasks.governance.decision import propose, record
from tasks.governance.pursuit import close
from tasks.ledger.chain import Ledger
from tasks.ledger.questions import open_decisions, retrain_decisions, rows
from tasks.ledger.rows import AnyRow, DecisionRow, ProposalRow, ReleaseRow, WindowRow
from tasks.spec import ModelSpec


def test_a_first_proposal_is_decided_and_both_rows_are_recorded(ledger: Ledger, spec: ModelSpec) -> None:
    decision = propose(ledger, spec, proposal(window="2013-05", at=day(31)))

    assert decision.action == "retrain"
    assert decision.decision == "late-1"
    assert [entry.row.kind for entry in ledger.read()] == ["proposal", "decision"]


def test_the_same_window_never_leads_to_a_second_decision(ledger: Ledger, spec: ModelSpec) -> None:
    first = propose(ledger, spec, proposal("drift", "2013-05", day(31)))
    close(ledger, "late", first.decision, "promoted", "better")

    again = propose(ledger, spec, proposal("decay", "2013-05", day(31)))

    assert again.action == "ignore"
    assert "2013-05" in again.reason
    assert first.decision in again.reason


def test_there_is_one_decision_at_a_time_even_for_a_person(ledger: Ledger, spec: ModelSpec) -> None:
    propose(ledger, spec, proposal(window="2013-05", at=day(1)))

    assert "one at a time" in propose(ledger, spec, proposal("on_demand")).reason


def test_cooldown_holds_by_the_datas_clock_and_ends(ledger: Ledger, spec: ModelSpec) -> None:
    close(ledger, "late", propose(ledger, spec, proposal(window="a", at=day(10))).decision, "promoted", "better")

    soon = propose(ledger, spec, proposal(window="b", at=day(14)))
    later = propose(ledger, spec, proposal(window="c", at=day(15)))

    assert soon.action == "ignore"
    assert "cooldown" in soon.reason
    assert later.action == "retrain"


def test_the_daily_budget_holds(ledger: Ledger, spec: ModelSpec) -> None:
    eager = spec.model_copy(update={"triggers": spec.triggers.model_copy(update={"cooldown_days": 0})})
    for window in ("a", "b"):
        close(ledger, "late", propose(ledger, eager, proposal(window=window, at=day(10))).decision, "failed", "no better")

    assert "budget" in propose(ledger, eager, proposal(window="c", at=day(10))).reason
    assert propose(ledger, eager, proposal(window="d", at=day(11))).action == "retrain"


def test_cooldown_does_not_bind_a_person(ledger: Ledger, spec: ModelSpec) -> None:
    close(ledger, "late", propose(ledger, spec, proposal(window="a", at=day(10))).decision, "promoted", "better")

    assert propose(ledger, spec, proposal("on_demand")).action == "retrain"


def test_of_many_proposals_at_once_one_wins(ledger: Ledger, spec: ModelSpec) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: propose(ledger, spec, proposal(window=f"w{n}", at=day(10))), range(8)))

    history = ledger.read()
    assert len(rows(history, ProposalRow)) == 8
    assert len(retrain_decisions(history, "late")) == len(open_decisions(history, "late")) == 1


def test_a_schedule_without_newer_rows_is_ignored_and_drift_without_them_is_decided(ledger: Ledger, spec: ModelSpec) -> None:
    ledger.append(batch("2013-05", day(20)), version("late-0", seen_until=day(20), name="v0"))
    ledger.append(ReleaseRow(model="late", release="r0", version="v0", step="live", reason="first"))

    assert "no rows are newer" in propose(ledger, spec, proposal("schedule", at=day(20))).reason
    assert propose(ledger, spec, proposal("drift", window="2013-05", at=day(20))).action == "retrain"


def test_a_schedule_with_newer_rows_is_decided_and_bound_by_the_cooldown(ledger: Ledger, spec: ModelSpec) -> None:
    ledger.append(batch("2013-05", day(10)))
    first = propose(ledger, spec, proposal("schedule", at=day(10)))
    close(ledger, "late", first.decision, "failed", "no better")
    ledger.append(batch("2013-06", day(12)))

    assert first.action == "retrain"
    assert "cooldown" in propose(ledger, spec, proposal("schedule", at=day(12))).reason


def judged(window: str) -> list[AnyRow]:
    found = WindowRow(
        model="late", version="v1", window=window, start=day(1), end=day(31), rows=9, verdict="drift", reason="moved", performance={"reference": 0.7}
    )
    return [found, proposal(window=window, at=day(31))]


def test_a_finding_its_proposal_and_the_decision_are_recorded_together(ledger: Ledger, spec: ModelSpec) -> None:
    record(ledger, spec, judged("2013-05"))

    assert [entry.row.kind for entry in ledger.read()] == ["window", "proposal", "decision"]
    assert open_decisions(ledger.read(), "late")[0].decision == "late-2"


def test_a_window_that_another_run_recorded_leads_to_nothing_more(ledger: Ledger, spec: ModelSpec) -> None:
    record(ledger, spec, judged("2013-05"))

    with pytest.raises(AppendRefusedError, match="window:late:2013-05:final"):
        record(ledger, spec, judged("2013-05"))
    assert len(ledger.read()) == 3


def test_of_two_proposals_in_one_record_the_second_finds_the_first_decided(ledger: Ledger, spec: ModelSpec) -> None:
    record(ledger, spec, [*judged("2013-05"), *judged("2013-06")])

    assert [d.decision for d in retrain_decisions(ledger.read(), "late")] == ["late-2"]
    assert "one at a time" in rows(ledger.read(), DecisionRow)[-1].reason
