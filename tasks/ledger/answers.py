"""What people ask of the ledger: what happened, what is live and why, what waits. Pure: the history comes in, values go out."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from bentos.runtime.lines import PredictionLine
from tasks.errors import UnknownNameError
from tasks.ledger.chain import Entry, History
from tasks.ledger.questions import about, attempts, live, open_decisions, quarantined, rows, version, waits_for_rows, windows
from tasks.ledger.rows import (
    AlertRow,
    AnyRow,
    AttemptRow,
    BatchRow,
    ClosedRow,
    DecisionRow,
    GateResult,
    ProposalRow,
    ReleaseRow,
    VersionRow,
    WaiverRow,
    WindowRow,
)
from tasks.spec import ModelSpec

RECENT = timedelta(days=7)  # alerts older than this no longer ask for a person on the status page


class Answer(BaseModel):
    """Base of the answers: frozen values."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelStatus(Answer):
    """How one model stands."""

    model: str
    dataset: str
    task: str
    version: str = ""
    release: str = ""
    since: datetime | None = None
    why: str = ""
    window: str = ""
    verdict: str = ""
    verdict_reason: str = ""
    underway: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class Explanation(Answer):
    """Everything that led to an answered row, a decision, a version or a release."""

    id: str
    kind: str
    model: str
    prediction: PredictionLine | None = None
    proposal: ProposalRow | None = None
    decision: DecisionRow | None = None
    window: WindowRow | None = None
    attempts: tuple[AttemptRow, ...] = ()
    version: VersionRow | None = None
    releases: tuple[ReleaseRow, ...] = ()
    closed: ClosedRow | None = None


def history_of(history: History, spec: ModelSpec) -> list[Entry]:
    """Entries that concern a model: its own, and those of the dataset that feeds it."""
    return list(about(history, spec.name, spec.dataset))


def status_of(history: History, spec: ModelSpec, now: datetime) -> ModelStatus:
    """How a model stands at a moment of wall time."""
    release = live(history, spec.name)
    judged = windows(history, spec.name)
    return ModelStatus(
        model=spec.name,
        dataset=spec.dataset,
        task=spec.task,
        version=release.version if release else "",
        release=release.release if release else "",
        since=release.recorded_at if release else None,
        why=why_live(history, release) if release else "",
        window=judged[-1].window if judged else "",
        verdict=judged[-1].verdict if judged else "",
        verdict_reason=judged[-1].reason if judged else "",
        underway=tuple(_underway(history, decision, spec) for decision in open_decisions(history, spec.name)),
        waiting=waiting(history, spec, now),
    )


def waiting(history: History, spec: ModelSpec, now: datetime) -> tuple[str, ...]:
    """What a person should look at: quarantined batches, and the alerts of the last week."""
    held = [f"batch {batch.batch} of {batch.dataset} is quarantined: {batch.reason}" for batch in quarantined(history, spec.dataset)]
    alerts = [row for row in rows(history, AlertRow) if row.subject in {spec.name, spec.dataset} and row.recorded_at and now - row.recorded_at <= RECENT]
    return (*held, *(f"alert of {row.recorded_at:%Y-%m-%d %H:%M} UTC: {row.message}" for row in alerts))


def why_live(history: History, release: ReleaseRow) -> str:
    """The reason of a release, and the numbers of the gate behind it unless they are the reason."""
    gate = version(history, release.model, release.version).gate
    return release.reason if release.reason == "; ".join(gate.reasons) else f"{release.reason}; its gate: {gate_sentence(gate)}"


def explain(history: History, name: str, prediction: PredictionLine | None = None) -> Explanation:
    """What led to the thing of this id: a decision, a version, a release, or the answered row `prediction`.

    Raises:
        UnknownNameError: the ledger knows no such id.
    """
    if prediction is not None:
        return _of_version(history, name, "prediction", prediction.model, prediction.version, prediction.release).model_copy(update={"prediction": prediction})
    for entry in history:
        row = entry.row
        if isinstance(row, DecisionRow) and name == row.decision and name:
            return _of_decision(history, name, "decision", row)
        if isinstance(row, ReleaseRow) and name == row.release:
            return _of_version(history, name, "release", row.model, row.version, row.release)
        if isinstance(row, VersionRow) and name == row.version:
            return _of_version(history, name, "version", row.model, row.version)
    raise UnknownNameError("answered row, decision, version or release", name, (), "ledger")


def approvals(history: History, refs: Collection[str]) -> list[WaiverRow]:
    """What people let pass that the rules had stopped: the waivers of batches, by the references of their bytes."""
    return [row for row in rows(history, WaiverRow) if row.ref in refs]


def sentence(row: AnyRow) -> str:
    """One line that says what a row records."""
    match row:
        case BatchRow(verdict="accepted"):
            return f"batch {row.batch} of {row.dataset} accepted, {row.rows:,} rows"
        case BatchRow():
            return f"batch {row.batch} of {row.dataset} quarantined: {row.reason}"
        case WaiverRow():
            return f"batch {row.batch} of {row.dataset} let in by {row.actor}: {row.reason}"
        case WindowRow():
            return f"window {row.window} of {row.model} {row.version} is {row.verdict}: {row.reason}"
        case AlertRow():
            return f"alert: {row.message}"
        case ProposalRow():
            return f"retraining proposed ({row.trigger}): {row.reason}"
        case DecisionRow():
            return f"decision {row.decision or '-'} to {row.action} ({row.trigger}): {row.reason}"
        case AttemptRow():
            return f"attempt {row.attempt} at {row.decision}, lease until {row.lease_until:%Y-%m-%d %H:%M:%S} UTC"
        case VersionRow():
            return f"version {row.version} {'accepted' if row.gate.accepted else 'refused'}: {gate_sentence(row.gate)}"
        case ReleaseRow():
            return f"release {row.release} of {row.version} {row.step}: {row.reason}"
        case ClosedRow():
            return f"decision {row.decision} closed, {row.outcome}: {row.reason}"


def gate_sentence(gate: GateResult) -> str:
    """The verdict of the gate with its numbers."""
    scores = ", ".join(f"{name} {value:.4g}" for name, value in gate.scores.items())
    gain = f", gain {gate.gain[1]:+.4g} ({gate.gain[0]:+.4g} to {gate.gain[2]:+.4g})" if gate.gain else ""
    reasons = "" if gate.accepted else f" ({'; '.join(gate.reasons)})"
    return f"{gate.metric} on {gate.rows:,} later rows: {scores}{gain}{reasons}"


def _underway(history: History, decision: DecisionRow, spec: ModelSpec) -> str:
    tried = attempts(history, decision.decision)
    if not tried and waits_for_rows(history, decision, spec.dataset):
        return f"decision {decision.decision} ({decision.trigger}) waits for rows newer than the champion has seen"
    return f"decision {decision.decision} ({decision.trigger}): " + (f"attempt {tried[-1].attempt}" if tried else "not begun")


def _of_version(history: History, name: str, kind: str, model: str, version_name: str, release: str = "") -> Explanation:
    found = version(history, model, version_name)
    decisions = rows(history, DecisionRow, decision=found.decision)
    steps = [row for row in rows(history, ReleaseRow, model=model, version=version_name) if release in {"", row.release}]
    if decisions:
        return _of_decision(history, name, kind, decisions[0], found, steps)
    return Explanation(id=name, kind=kind, model=model, version=found, releases=tuple(steps))


def _of_decision(
    history: History, name: str, kind: str, decision: DecisionRow, found: VersionRow | None = None, steps: Sequence[ReleaseRow] | None = None
) -> Explanation:
    given = rows(history, VersionRow, decision=decision.decision) if decision.decision else []
    found = found or (given[0] if given else None)
    if steps is None:
        steps = rows(history, ReleaseRow, model=decision.model, version=found.version) if found else []
    closed = rows(history, ClosedRow, decision=decision.decision) if decision.decision else []
    seen = [row for row in windows(history, decision.model) if row.window == decision.window and decision.window]
    return Explanation(
        id=name,
        kind=kind,
        model=decision.model,
        proposal=next((entry.row for entry in history if entry.seq == decision.proposal and isinstance(entry.row, ProposalRow)), None),
        decision=decision,
        window=seen[-1] if seen else None,
        attempts=tuple(attempts(history, decision.decision)) if decision.decision else (),
        version=found,
        releases=tuple(steps),
        closed=closed[0] if closed else None,
    )
