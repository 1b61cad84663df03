"""The train flow as Prefect runs it: what cannot be trained ends its decision, and says why."""

from pathlib import Path

import pytest

from flows.train import train
from tasks.installation import Installation
from tasks.ledger.questions import open_decisions, rows
from tasks.ledger.rows import ClosedRow, VersionRow

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("prefect_client")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation without a single batch."""
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RATCHET_PROJECT", str(ROOT))
    return Installation.of()


def test_a_training_that_cannot_be_is_failed_with_the_reason_and_its_decision_is_closed(here: Installation) -> None:
    state = train("flights_late", return_state=True)

    assert state.is_failed()
    assert "no accepted batch" in str(state.message)
    assert open_decisions(here.ledger.read(), "flights_late") == []
    [closed] = rows(here.ledger.read(), ClosedRow)
    assert closed.outcome == "failed"
    assert "no accepted batch" in closed.reason
    assert rows(here.ledger.read(), VersionRow) == []


def test_an_unknown_model_is_told_by_name_and_decides_nothing(here: Installation) -> None:
    state = train("flights_lat", return_state=True)

    assert state.is_failed()
    assert "Did you mean 'flights_late'?" in str(state.message)
    assert here.ledger.read() == []


def test_a_run_whose_attempt_was_taken_over_trains_nothing_and_closes_nothing(here: Installation) -> None:
    state = train("flights_late", decision="flights_late-1", attempt=1, return_state=True)

    assert state.is_failed()
    assert "it has ended, or never was" in str(state.message)
    assert rows(here.ledger.read(), ClosedRow) == []
