"""Pursuing a decision: which run it needs next. Executions happen at least once, effects exactly once.

An attempt is granted in the ledger before its run is started under the idempotency key `decision:attempt`; a run that
proposes takes the first one together with the decision. Who finds the run dead grants the next one; what the dead one's
orphan appends later is refused, because it lost the fence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tasks.errors import AppendRefusedError
from tasks.ledger.chain import History, Ledger
from tasks.ledger.questions import attempts, open_decisions, version_of, waits_for_rows
from tasks.ledger.rows import AttemptRow, ClosedRow, DecisionRow, VersionRow
from tasks.spec import ModelSpec

RunState = Literal["unknown", "alive", "dead"]
RunStates = Callable[[str, str], RunState]


@dataclass(frozen=True)
class NextRun:
    """A run that a decision needs: the deployment, its parameters and the key under which it exists once."""

    deployment: str
    parameters: dict[str, Any]
    key: str
    tags: tuple[str, ...] = field(default=())


def grant(ledger: Ledger, spec: ModelSpec, decision: str, after: int, now: datetime, lease_seconds: float) -> AttemptRow:
    """Grant the attempt that follows attempt number `after` (0: the first).

    Raises:
        AppendRefusedError: the decision has ended or has its version, or somebody granted that attempt already.
    """
    row = AttemptRow(model=spec.name, decision=decision, attempt=after + 1, lease_until=now + timedelta(seconds=lease_seconds))

    def decide(history: History) -> list[AttemptRow]:
        _refuse_unless_open(history, spec.name, decision)
        held = attempts(history, decision)
        if len(held) != after:
            raise AppendRefusedError(f"Attempt {after + 1} at {decision}", f"attempt {len(held)} was granted already")
        return [row]

    ledger.transact(decide)
    return row


def lost(history: History, model: str, decision: str, attempt: int) -> str:
    """Why the attempt may no longer give the decision its version; empty while it may."""
    if ended := _ended(history, model, decision):
        return ended
    held = attempts(history, decision)
    if not held or held[-1].attempt < attempt:
        return "it was never granted"
    return "" if held[-1].attempt == attempt else f"attempt {held[-1].attempt} has taken over"


def register(ledger: Ledger, version: VersionRow) -> None:
    """Append the one version of a decision; a refused one closes its decision in the same breath.

    Raises:
        AppendRefusedError: the attempt has lost the fence, or the decision has a version or has ended.
    """

    def decide(history: History) -> list[VersionRow | ClosedRow]:
        _refuse_unless_open(history, version.model, version.decision)
        held = attempts(history, version.decision)
        if not held or held[-1].attempt != version.attempt:
            raise AppendRefusedError(f"Version {version.version}", f"attempt {version.attempt} at {version.decision} lost the fence to attempt {len(held)}")
        if version.gate.accepted:
            return [version]
        reason = "; ".join(version.gate.reasons)
        return [version, ClosedRow(model=version.model, decision=version.decision, run=version.run, outcome="refused", reason=reason)]

    ledger.transact(decide)


def close(ledger: Ledger, model: str, decision: str, outcome: Literal["promoted", "failed", "undone"], reason: str, run: str = "") -> bool:
    """End a decision; False when it had ended before."""
    row = ClosedRow(model=model, decision=decision, outcome=outcome, reason=reason, run=run)
    added = ledger.transact(lambda history: [row] if any(d.decision == decision for d in open_decisions(history, model)) else [])
    return bool(added)


def give_up(ledger: Ledger, model: str, decision: str, attempt: int, reason: str, run: str = "") -> bool:
    """End a decision as failed because its attempt raised an error; False when that attempt no longer holds the fence, or there is a version."""
    row = ClosedRow(model=model, decision=decision, outcome="failed", reason=reason, run=run)

    def decide(history: History) -> list[ClosedRow]:
        return [] if lost(history, model, decision, attempt) else [row]

    return bool(ledger.transact(decide))


def pursue(ledger: Ledger, spec: ModelSpec, decision: DecisionRow, now: datetime, lease_seconds: float, max_attempts: int, state: RunStates) -> NextRun | None:
    """The run that an open decision needs now, or None when it waits or is under way.

    Args:
        state: Tells of a key, and of the id of the run that took the work on itself without one, whether that run is alive, dead, or was never started.
    """
    history = ledger.read()
    if decision.decision not in {d.decision for d in open_decisions(history, spec.name)}:
        return None
    if version := version_of(history, decision.decision):
        return _release_run(ledger, spec, version, max_attempts, state)
    held = attempts(history, decision.decision)
    if not held:
        if waits_for_rows(history, decision, spec.dataset):
            return None
        return _train_run(spec, decision, grant(ledger, spec, decision.decision, 0, now, lease_seconds))
    last = held[-1]
    found = state(key_of(last), last.run)
    if found == "unknown":
        return _train_run(spec, decision, last)
    if found == "alive" and now < last.lease_until:
        return None
    if last.attempt >= max_attempts:
        give_up(ledger, spec.name, decision.decision, last.attempt, f"{last.attempt} attempts died before they gave a version")
        return None
    return _train_run(spec, decision, grant(ledger, spec, decision.decision, last.attempt, now, lease_seconds))


def key_of(attempt: AttemptRow) -> str:
    """Idempotency key of an attempt's run."""
    return f"{attempt.decision}:{attempt.attempt}"


def now_utc() -> datetime:
    """Wall time; leases are measured by it."""
    return datetime.now(UTC)


def _train_run(spec: ModelSpec, decision: DecisionRow, attempt: AttemptRow) -> NextRun:
    parameters = {"model": spec.name, "decision": decision.decision, "attempt": attempt.attempt, "settings": decision.settings, "drill": decision.drill}
    return NextRun(f"train/{spec.name}", parameters, key_of(attempt), (f"decision:{decision.decision}", f"trigger:{decision.trigger}"))


def _release_run(ledger: Ledger, spec: ModelSpec, version: VersionRow, max_attempts: int, state: RunStates) -> NextRun | None:
    """An accepted version that is not live yet is released; each key that died makes room for the next one."""
    keys = (f"release:{version.decision}:{number}" for number in range(1, max_attempts + 1))
    key, found = next(((key, found) for key in keys if (found := state(key, "")) != "dead"), ("", "dead"))
    # Read again, and only now: a run that has ended may have ended the decision since it was read.
    if found == "alive" or version.decision not in {d.decision for d in open_decisions(ledger.read(), spec.name)}:
        return None
    if found == "dead":
        close(ledger, spec.name, version.decision, "failed", f"{max_attempts} release runs died")
        return None
    parameters = {"model": spec.name, "version": version.version, "decision": version.decision}
    return NextRun(f"release/{spec.name}", parameters, key, (f"decision:{version.decision}",))


def _ended(history: History, model: str, decision: str) -> str:
    """Why a decision asks for no training; empty while it does."""
    if decision not in {d.decision for d in open_decisions(history, model)}:
        return "it has ended, or never was"
    version = version_of(history, decision)
    return f"it has given version {version.version} already" if version else ""


def _refuse_unless_open(history: History, model: str, decision: str) -> None:
    if ended := _ended(history, model, decision):
        raise AppendRefusedError(f"Work on decision {decision!r}", ended)
