"""Answers for people: status, explanations, sentences."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import batch, day, proposal, version

from bentos.runtime.contract import Feature
from bentos.runtime.lines import PredictionLine
from tasks.errors import UnknownNameError
from tasks.ledger import answers
from tasks.ledger.chain import Entry, History
from tasks.ledger.rows import AlertRow, AnyRow, AttemptRow, BatchRow, ClosedRow, DecisionRow, ReleaseRow, WindowRow
from tasks.spec import Gate, Label, ModelSpec

NOW = datetime(2026, 1, 10, tzinfo=UTC)
SPEC = ModelSpec(
    name="late",
    folder=Path(),
    dataset="flights",
    task="binary",
    label=Label(column="delay", above=15),
    features={"distance": Feature(type="number")},
    gate=Gate(metric="roc_auc"),
)


def history(*rows: AnyRow) -> History:
    return [Entry(seq, f"hash {seq}", row.model_copy(update={"recorded_at": NOW - timedelta(days=1)})) for seq, row in enumerate(rows, 1)]


def decision(action: str = "retrain") -> DecisionRow:
    return DecisionRow(model="late", decision="late-2", trigger="drift", window="2013-04", action=action, reason="drift", proposal=2)  # type: ignore[arg-type]


def window() -> WindowRow:
    return WindowRow(model="late", version="v0", window="2013-04", start=day(1), end=day(30), rows=2_000, verdict="drift", reason="5 of 16 columns")


def release(step: str = "live") -> ReleaseRow:
    return ReleaseRow(model="late", release="late-r1", version="20130501-aaaaaaaa", step=step, reason="better than v0", previous="v0")  # type: ignore[arg-type]


def turn() -> History:
    """A whole turn of the loop, from the window that drifted to the closed decision."""
    attempt = AttemptRow(model="late", decision="late-2", attempt=1, lease_until=NOW)
    closed = ClosedRow(model="late", decision="late-2", outcome="promoted", reason="live since today")
    return history(window(), proposal(window="2013-04"), decision(), attempt, version("late-2"), release("started"), release(), closed)


def answered() -> PredictionLine:
    time = "2013-05-01T08:00:00Z"
    return PredictionLine(
        id="0199",
        model="late",
        version="20130501-aaaaaaaa",
        release="late-r1",
        event_time=time,
        wall_time=time,
        row={"distance": 9},
        score=0.7,
        prediction=True,
    )


def test_status_of_an_empty_installation_says_that_nothing_is_live() -> None:
    status = answers.status_of([], SPEC, NOW)

    assert status.version == ""
    assert status.since is None
    assert status.waiting == ()


def test_status_says_what_is_live_since_when_why_and_how_it_does() -> None:
    status = answers.status_of(turn(), SPEC, NOW)

    assert (status.version, status.release, status.since) == ("20130501-aaaaaaaa", "late-r1", NOW - timedelta(days=1))
    assert status.why == "better than v0; its gate: roc_auc on 900 later rows: challenger 0.7"
    assert (status.window, status.verdict) == ("2013-04", "drift")
    assert status.underway == ()


def test_a_reason_that_is_the_gates_own_is_not_said_twice() -> None:
    told = [*turn()[:6], Entry(7, "", release().model_copy(update={"reason": "gain 0.02 to 0.05"}))]

    assert answers.status_of(told, SPEC, NOW).why == "gain 0.02 to 0.05"


def test_status_lists_what_waits_for_a_person_and_lets_old_alerts_go() -> None:
    held = BatchRow(dataset="flights", batch="2013-02", verdict="quarantined", reason="5 % of departures missing")
    old, new = AlertRow(subject="late", message="old"), AlertRow(subject="late", message="new")
    told = history(held, new, AlertRow(subject="other", message="not ours"))
    told = [Entry(0, "", old.model_copy(update={"recorded_at": NOW - timedelta(days=8)})), *told]

    waiting = answers.status_of(told, SPEC, NOW).waiting

    assert waiting == ("batch 2013-02 of flights is quarantined: 5 % of departures missing", "alert of 2026-01-09 00:00 UTC: new")


def test_status_says_what_is_under_way() -> None:
    told = history(batch("2013-01", day(1)), decision(), AttemptRow(model="late", decision="late-2", attempt=2, lease_until=NOW))

    assert answers.status_of(told, SPEC, NOW).underway == ("decision late-2 (drift): attempt 2",)
    assert answers.status_of(history(decision()), SPEC, NOW).underway == ("decision late-2 (drift) waits for rows newer than the champion has seen",)


def test_why_of_an_answer_leads_back_to_the_window_that_drifted() -> None:
    found = answers.explain(turn(), "0199", answered())

    assert (found.kind, found.model) == ("prediction", "late")
    assert found.prediction is not None
    assert found.version is not None
    assert found.decision is not None
    assert found.proposal is not None
    assert found.window is not None
    assert found.closed is not None
    assert [r.step for r in found.releases] == ["started", "live"]
    assert found.window.reason == "5 of 16 columns"


@pytest.mark.parametrize(("name", "kind"), [("late-2", "decision"), ("late-r1", "release"), ("20130501-aaaaaaaa", "version")])
def test_why_takes_the_id_of_a_decision_a_release_or_a_version(name: str, kind: str) -> None:
    found = answers.explain(turn(), name)

    assert found.kind == kind
    assert found.version is not None
    assert found.version.version == "20130501-aaaaaaaa"
    assert found.decision is not None
    assert found.decision.decision == "late-2"


@pytest.mark.parametrize("name", ["", "nonsense"])
def test_why_of_an_unknown_id_is_an_error_that_names_it(name: str) -> None:
    told = history(proposal(), DecisionRow(model="late", trigger="drift", action="ignore", reason="open already", proposal=1))

    with pytest.raises(UnknownNameError, match=f"there is no answered row, decision, version or release '{name}'"):
        answers.explain(told, name)


def test_every_kind_of_row_has_a_sentence() -> None:
    sentences = [answers.sentence(entry.row) for entry in turn()]

    assert sentences[0] == "window 2013-04 of late v0 is drift: 5 of 16 columns"
    assert sentences[4] == "version 20130501-aaaaaaaa accepted: roc_auc on 900 later rows: challenger 0.7"
    assert all(sentences)
