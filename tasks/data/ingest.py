"""Take a raw batch in or set it aside, let a person waive what was set aside, and say which batches come next."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd

from tasks.data.formats import parquet_bytes
from tasks.data.source import content_name, following, period, read
from tasks.data.suite import Suite, load_suite, suite_digest
from tasks.data.validation import Validation, validate
from tasks.errors import AppendRefusedError, SourceError, UnknownNameError
from tasks.ledger.chain import History, Ledger
from tasks.ledger.questions import rows
from tasks.ledger.rows import AnyRow, BatchRow, WaiverRow
from tasks.spec import DatasetSpec
from tasks.store import Store


def judged(spec: DatasetSpec, batch: str, frame: pd.DataFrame, ref: str, suite: Suite, validation: Validation) -> BatchRow:
    """The record of a batch that could be read: accepted unless its validation blocks."""
    start, end = (moment.to_pydatetime().replace(tzinfo=UTC) for moment in (frame["event_time"].min(), frame["event_time"].max()))
    return BatchRow(
        dataset=spec.name,
        batch=batch,
        verdict="quarantined" if validation.blocked else "accepted",
        reason=validation.verdict_sentence if validation.findings else "",
        rows=len(frame),
        start=start,
        end=end,
        event_time=end,
        ref=ref,
        suite=suite.digest,
        findings=validation.findings,
    )


def recorded(history: History, row: BatchRow) -> BatchRow | None:
    """The newest record of a batch when it already says this: the same bytes, or the same reason for having none, under the same suite."""
    earlier = rows(history, BatchRow, dataset=row.dataset, batch=row.batch)[-1:]
    same = earlier and (earlier[0].ref, earlier[0].suite) == (row.ref, row.suite) and (row.ref != "" or earlier[0].reason == row.reason)
    return earlier[0] if same else None


def due(history: History, spec: DatasetSpec, now: datetime | None) -> list[str]:
    """Batches to take next, in order: those of `first` that are missing, then the following ones whose labels are complete.

    Args:
        now: The data's clock; None when it has not started, and nothing but `first` is due.
    """
    known = [row.batch for row in rows(history, BatchRow, dataset=spec.name)]
    if spec.period == "all":
        return [] if known else list(spec.first)
    missing = [batch for batch in spec.first if batch not in known]
    newest = max([*known, *spec.first], default="")  # names of one period sort as their times do
    if not newest or now is None:
        return missing
    later: list[str] = []
    batch = following(spec, newest)
    while period(spec, batch)[1] + timedelta(days=spec.label_delay_days) <= now:
        later.append(batch)
        batch = following(spec, batch)
    return missing + later


def ingest_batch(spec: DatasetSpec, batch: str, uri: str, store: Store, ledger: Ledger, run: str = "") -> BatchRow:
    """Read a batch, hold it against `raw.json`, keep its bytes and record the verdict; what is recorded already is not recorded again.

    Args:
        uri: Take the batch from this file; empty: from the dataset's source.
        run: Id of the flow run, for the record.

    Raises:
        SourceError: no batch of this dataset can have that name. SpecError: the dataset's folder is wrong.
    """
    period(spec, batch)
    path = spec.folder / "raw.json"
    digest = suite_digest(path)
    try:
        frame = read(spec, batch, uri)
    except SourceError as err:
        row = BatchRow(dataset=spec.name, batch=batch, verdict="quarantined", reason=str(err), suite=digest, run=run)
    else:
        batch = content_name(frame) if spec.period == "all" else batch
        # Quarantined bytes are kept too, so that a waiver lets in exactly what was looked at.
        ref = str(store.put(parquet_bytes(frame), ".parquet"))
        row = BatchRow(dataset=spec.name, batch=batch, verdict="quarantined", ref=ref, suite=digest, run=run)
        if recorded(ledger.read(), row) is None:  # spares the validation, the slow part
            suite = load_suite(path)
            row = judged(spec, batch, frame, ref, suite, validate(frame, suite, spec.personal)).model_copy(update={"run": run})
    return _append_once(ledger, row)


def waive(dataset: str, batch: str, approver: str, reason: str, ledger: Ledger) -> WaiverRow:
    """Record that a person lets a quarantined batch in: those bytes and no others. Asking the same again returns the record.

    Raises:
        UnknownNameError: no such batch. AppendRefusedError: it is not quarantined, has no bytes, was waived by somebody else,
            or the approver or the reason is empty.
    """
    what = f"The waiver of batch {batch!r} of {dataset!r}"
    if not approver.strip() or not reason.strip():
        raise AppendRefusedError(what, "a waiver needs the name of a person and a reason")
    earlier: list[WaiverRow] = []

    def decide(history: History) -> Sequence[AnyRow]:
        taken = rows(history, BatchRow, dataset=dataset)
        found = [row for row in taken if row.batch == batch]
        if not found:
            raise UnknownNameError(f"batch of {dataset}", batch, {row.batch for row in taken})
        row = next((row for row in reversed(found) if row.ref), found[-1])  # a file that could not be read replaces nothing
        if row.verdict == "accepted":
            raise AppendRefusedError(what, "the batch was accepted and needs none")
        if not row.ref:
            raise AppendRefusedError(what, f"there are no bytes to let in. {row.reason}")
        earlier.extend(rows(history, WaiverRow, dataset=dataset, ref=row.ref))
        if earlier and (earlier[-1].actor, earlier[-1].reason) != (approver, reason):
            raise AppendRefusedError(what, f"{earlier[-1].actor} waived it already: {earlier[-1].reason}")
        return [] if earlier else [WaiverRow(actor=approver, event_time=row.event_time, dataset=dataset, batch=batch, ref=row.ref, reason=reason)]

    added = ledger.transact(decide)
    final = added[0].row if added else earlier[-1]
    assert isinstance(final, WaiverRow)
    return final


def _append_once(ledger: Ledger, row: BatchRow) -> BatchRow:
    found: list[BatchRow] = []

    def decide(history: History) -> Sequence[AnyRow]:
        found.extend(filter(None, [recorded(history, row)]))
        return [] if found else [row]

    added = ledger.transact(decide)
    final = added[0].row if added else found[-1]
    assert isinstance(final, BatchRow)
    return final
