"""Was the thing done? A completed run may have declined: what counts is what the ledger holds since."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.ledger.answers import sentence
from tasks.ledger.chain import History
from tasks.ledger.questions import rows
from tasks.ledger.rows import BatchRow, ClosedRow, DecisionRow, ReleaseRow, WaiverRow, WindowRow


@dataclass(frozen=True)
class Outcome:
    """Whether what was asked for is done, in a sentence."""

    done: bool
    sentence: str


def ingested(added: History, dataset: str) -> Outcome:
    """Done when batches were taken in and none was set aside."""
    taken = rows(added, BatchRow, dataset=dataset)
    if not taken:
        return Outcome(False, f"no batch of {dataset} was due")
    return Outcome(all(batch.verdict == "accepted" for batch in taken), "; ".join(map(sentence, taken)))


def waived(added: History, dataset: str, batch: str) -> Outcome:
    """Done when the waiver is recorded."""
    found = rows(added, WaiverRow, dataset=dataset, batch=batch)
    return Outcome(bool(found), sentence(found[-1]) if found else f"no waiver of {batch} was recorded")


def released(added: History, model: str) -> Outcome:
    """Done when a version went live and was not undone since."""
    steps = rows(added, ReleaseRow, model=model)
    if not steps:
        return Outcome(False, f"nothing of {model} was released")
    return Outcome(steps[-1].step == "live", sentence(steps[-1]))


def monitored(added: History, model: str) -> Outcome:
    """Done whatever was found; says what."""
    return Outcome(True, "; ".join(sentence(row) for row in rows(added, WindowRow, model=model)) or f"no window of {model} had closed")


def trained(history: History, runs: Sequence[str]) -> Outcome | None:
    """Done when the decision of these runs was closed by a promotion; None while it is open."""
    decisions = [row for row in rows(history, DecisionRow) if row.run in runs]
    if not decisions:
        return Outcome(False, "the run ended before anything was decided")
    if decisions[-1].action == "ignore":
        return Outcome(False, f"nothing was trained: {decisions[-1].reason}")
    closed = rows(history, ClosedRow, decision=decisions[-1].decision)
    return Outcome(closed[0].outcome == "promoted", sentence(closed[0])) if closed else None


def decided(history: History, runs: Sequence[str]) -> str:
    """The decision of these runs."""
    return next(row.decision for row in reversed(rows(history, DecisionRow)) if row.run in runs)
