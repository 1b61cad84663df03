"""New batches and changed folders propose, where the spec wants that, and once each."""

import pytest
from factories import batch, day, version

from tasks.governance.decision import propose
from tasks.governance.proposals import code_change, new_data
from tasks.governance.pursuit import close
from tasks.ledger.chain import Ledger
from tasks.ledger.rows import ReleaseRow
from tasks.spec import ModelSpec, Triggers


@pytest.fixture
def eager(spec: ModelSpec) -> ModelSpec:
    return spec.model_copy(update={"triggers": Triggers(new_data="retrain", code_change="retrain")})


@pytest.fixture
def lived(ledger: Ledger) -> Ledger:
    """A ledger with a champion that was made from code 'c'."""
    ledger.append(batch("2013-05", day(20)), version("late-0", name="v0"), ReleaseRow(model="late", release="r0", version="v0", step="live", reason="first"))
    return ledger


def test_an_accepted_batch_proposes_and_a_quarantined_one_does_not(eager: ModelSpec, spec: ModelSpec) -> None:
    taken = batch("2013-05", day(20))

    assert new_data(spec, [taken]) is None, "not unless the spec wants it"
    assert new_data(eager, [taken.model_copy(update={"verdict": "quarantined"})]) is None
    found = new_data(eager, [batch("2013-04", day(10)), taken])
    assert found is not None
    assert (found.window, found.event_time) == ("batch 2013-05", day(20))


def test_the_same_code_proposes_nothing_and_changed_code_once(lived: Ledger, eager: ModelSpec, spec: ModelSpec) -> None:
    assert code_change(lived.read(), eager, "c") is None
    assert code_change(lived.read(), spec, "changed") is None, "not unless the spec wants it"

    found = code_change(lived.read(), eager, "changed")
    assert found is not None
    decision = propose(lived, eager, found)

    assert decision.action == "retrain"
    assert code_change(lived.read(), eager, "changed again") is None, "one decision at a time"
    close(lived, "late", decision.decision, "failed", "no better")
    assert code_change(lived.read(), eager, "changed") is None, "this state of the code has had its chance"
    assert code_change(lived.read(), eager, "changed again") is not None


def test_without_a_champion_there_is_nothing_to_compare_the_code_with(ledger: Ledger, eager: ModelSpec) -> None:
    assert code_change(ledger.read(), eager, "changed") is None
