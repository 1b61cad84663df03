"""New batches and changed folders propose, where the spec wants that, and once each."""

import pytest
from factories import batch, day, version

from tasks.governance.decision import record
from tasks.governance.proposals import changes
from tasks.governance.pursuit import close
from tasks.ledger.chain import Ledger
from tasks.ledger.questions import open_decisions
from tasks.ledger.rows import ReleaseRow
from tasks.spec import ModelSpec, Triggers


@pytest.fixture
def eager(spec: ModelSpec) -> ModelSpec:
    return spec.model_copy(update={"triggers": Triggers(new_data="retrain", code_change="retrain", daily_budget=9)})


@pytest.fixture
def lived(ledger: Ledger) -> Ledger:
    """A ledger with a champion that was made from code 'c' and the batch of May."""
    ledger.append(batch("2013-05", day(20)))
    ledger.append(version("late-0", name="v0"), ReleaseRow(model="late", release="r0", version="v0", step="live", reason="first"))
    return ledger


def windows(ledger: Ledger, spec: ModelSpec, code: str = "c") -> list[str]:
    return [proposal.window for proposal in changes(ledger.read(), spec, code)]


def test_what_the_champion_was_made_of_proposes_nothing(lived: Ledger, eager: ModelSpec) -> None:
    assert windows(lived, eager) == []


def test_a_batch_recorded_since_proposes_and_a_quarantined_one_does_not(lived: Ledger, eager: ModelSpec, spec: ModelSpec) -> None:
    lived.append(batch("2013-07", day(31)).model_copy(update={"verdict": "quarantined"}))
    assert windows(lived, eager) == []

    lived.append(batch("2013-06", day(30)))
    assert windows(lived, spec) == [], "not unless the spec wants it"
    assert windows(lived, eager) == ["batch 2013-06"]


def test_changed_code_proposes_once_for_each_state_of_it(lived: Ledger, eager: ModelSpec, spec: ModelSpec) -> None:
    assert windows(lived, spec, "changed") == [], "not unless the spec wants it"
    record(lived, eager, changes(lived.read(), eager, "changed"))
    [decision] = open_decisions(lived.read(), "late")

    assert windows(lived, eager, "changed2") == [], "one decision at a time"
    close(lived, "late", decision.decision, "failed", "no better")
    assert windows(lived, eager, "changed") == [], "this state of the code has had its chance"
    assert windows(lived, eager, "changed2") == ["code changed2"]


def test_of_both_at_once_one_is_decided(lived: Ledger, eager: ModelSpec) -> None:
    lived.append(batch("2013-06", day(30)))

    record(lived, eager, changes(lived.read(), eager, "changed"))

    assert [decision.trigger for decision in open_decisions(lived.read(), "late")] == ["new_data"]


def test_without_a_champion_nothing_has_changed(ledger: Ledger, eager: ModelSpec) -> None:
    ledger.append(batch("2013-05", day(20)))

    assert windows(ledger, eager, "changed") == []
