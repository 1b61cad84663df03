"""Questions asked of the ledger. Each takes the history and computes its answer; nothing is kept beside it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TypeVar

from tasks.errors import UnknownNameError
from tasks.ledger.chain import Entry, History
from tasks.ledger.rows import AttemptRow, BatchRow, ClosedRow, DecisionRow, ReleaseRow, Row, VersionRow, WaiverRow, WindowRow

R = TypeVar("R", bound=Row)


def rows(history: History, kind: type[R], **fields: object) -> list[R]:
    """Rows of one kind whose fields have these values, oldest first."""
    return [e.row for e in history if isinstance(e.row, kind) and all(getattr(e.row, k) == v for k, v in fields.items())]


def about(history: History, model: str, dataset: str) -> Iterator[Entry]:
    """Entries that concern a model or the dataset that feeds it."""
    for entry in history:
        named = {getattr(entry.row, name, None) for name in ("model", "dataset", "subject")}
        if named & {model, dataset}:
            yield entry


def accepted(history: History, dataset: str) -> list[BatchRow]:
    """Batches that may train, in the order of their time: accepted ones, and quarantined ones with a waiver for those bytes.

    A batch taken again replaces the earlier one, unless it could not be read: there is nothing to replace it with.
    """
    waived = {row.ref for row in rows(history, WaiverRow, dataset=dataset)}
    newest = {row.batch: row for row in rows(history, BatchRow, dataset=dataset) if row.ref}
    return sorted(
        (b for b in newest.values() if b.verdict == "accepted" or b.ref in waived), key=lambda b: (b.end or datetime.min.replace(tzinfo=UTC), b.batch)
    )


def quarantined(history: History, dataset: str) -> list[BatchRow]:
    """Batches that wait for a person."""
    newest = {row.batch: row for row in rows(history, BatchRow, dataset=dataset)}
    taken = {batch.ref for batch in accepted(history, dataset)}
    return [batch for batch in newest.values() if batch.verdict == "quarantined" and batch.ref not in taken]


def live(history: History, model: str, at: datetime | None = None) -> ReleaseRow | None:
    """The release that answered at a moment of wall time (now when None)."""
    found = [r for r in rows(history, ReleaseRow, model=model, step="live") if at is None or (r.recorded_at is not None and r.recorded_at <= at)]
    return found[-1] if found else None


def version(history: History, model: str, name: str) -> VersionRow:
    """A version by its name. The same model made again has the same name: then the newest one that the gate accepted, since only that has a bento.

    Raises:
        UnknownNameError: there is none of that name.
    """
    known = {row.version: row for row in sorted(rows(history, VersionRow, model=model), key=lambda row: row.gate.accepted)}
    if name not in known:
        raise UnknownNameError(f"version of {model}", name, known)
    return known[name]


def champion(history: History, model: str) -> VersionRow | None:
    """The version that is live."""
    release = live(history, model)
    return version(history, model, release.version) if release else None


def previous(history: History, model: str) -> str:
    """The version that was live before the present one took over; empty when there is none."""
    release = live(history, model)
    return release.previous if release else ""


def retrain_decisions(history: History, model: str) -> list[DecisionRow]:
    """Decisions to retrain a model, oldest first."""
    return rows(history, DecisionRow, model=model, action="retrain")


def open_decisions(history: History, model: str) -> list[DecisionRow]:
    """Decisions to retrain that have not ended."""
    closed = {row.decision for row in rows(history, ClosedRow, model=model)}
    return [decision for decision in retrain_decisions(history, model) if decision.decision not in closed]


def attempts(history: History, decision: str) -> list[AttemptRow]:
    """Attempts at a decision, oldest first; the last one holds the fence."""
    return rows(history, AttemptRow, decision=decision)


def version_of(history: History, decision: str) -> VersionRow | None:
    """The one version a decision gave, if it has."""
    found = rows(history, VersionRow, decision=decision)
    return found[0] if found else None


def newest_time(history: History, dataset: str) -> datetime | None:
    """Event time of the newest row that may train."""
    ends = [batch.end for batch in accepted(history, dataset) if batch.end]
    return max(ends, default=None)


def waits_for_rows(history: History, decision: DecisionRow, dataset: str) -> bool:
    """True while a decision to retrain finds no rows newer than those the champion has seen.

    A first training and a drill need none: the first has no champion, the drill is meant to be refused.
    """
    ruler = champion(history, decision.model)
    newest = newest_time(history, dataset)
    if ruler is None:
        return newest is None
    return decision.drill == "none" and (newest is None or newest <= ruler.seen_until)


def windows(history: History, model: str) -> list[WindowRow]:
    """Judged windows, oldest first."""
    return rows(history, WindowRow, model=model)
