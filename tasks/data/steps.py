"""What flows ask of data: which batches are due, take one in, waive one, show the findings. Thin shells."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from tasks.artifact import publish
from tasks.data import snapshot as snapshots
from tasks.data import source
from tasks.data.findings import findings_markdown
from tasks.data.ingest import due, ingest_batch, waive
from tasks.data.validation import load_served_suite, validate
from tasks.installation import Installation
from tasks.ledger.questions import newest_time, rows
from tasks.ledger.rows import BatchRow, Finding
from tasks.spec import ModelSpec


def read_raw(dataset: str, batch: str) -> pd.DataFrame:
    """Raw rows of a batch from the dataset's own source."""
    return source.read(Installation.of().project.dataset(dataset), batch)


def due_batches(dataset: str) -> list[str]:
    """Batches whose labels are complete by the data's clock and that were not taken yet."""
    here = Installation.of()
    history = here.ledger.read()
    return due(history, here.project.dataset(dataset), newest_time(history, dataset))


def next_batches(dataset: str) -> list[str]:
    """The one batch that follows the newest recorded one."""
    here = Installation.of()
    spec = here.project.dataset(dataset)
    recorded = [row.batch for row in rows(here.ledger.read(), BatchRow, dataset=dataset)]
    return [source.following(spec, max(recorded))] if recorded else list(spec.first[:1])


@task(cache_policy=NO_CACHE, task_run_name="take-{batch}")
def take_batch(dataset: str, batch: str, uri: str) -> BatchRow:
    """Validate one raw batch and record whether it may train."""
    here = Installation.of()
    row = ingest_batch(here.project.dataset(dataset), batch, uri, here.store, here.ledger, run=flow_run.id or "")
    get_run_logger().info("%s %s: %s, %s rows%s", dataset, row.batch, row.verdict, f"{row.rows:,}", f", {row.reason}" if row.reason else "")
    return row


@task(cache_policy=NO_CACHE)
def record_waiver(dataset: str, batch: str, approver: str, reason: str) -> None:
    """Record that a person lets a quarantined batch in."""
    here = Installation.of()
    waive(dataset, batch, approver, reason, here.ledger)
    get_run_logger().info("%s let %s %s in: %s", approver, dataset, batch, reason)


def report_batches(dataset: str, taken: Sequence[BatchRow]) -> State[Any]:
    """Show what was found, and end the run: Failed only when nothing of it could be taken."""
    if not taken:
        return Completed(message="No batch is due.")
    aside = [row for row in taken if row.verdict == "quarantined"]
    verdict = f"{'❌' if aside else '✅'} {len(taken) - len(aside)} of {len(taken)} batches accepted"
    message = verdict[2:] + "".join(f"; {row.batch} set aside: {row.reason}" for row in aside)
    publish(f"{dataset}-validation", findings_markdown(taken), f"**{verdict}**" + "".join(f"\n\n{row.batch}: {row.reason}" for row in aside))
    return Failed(message=message) if len(aside) == len(taken) else Completed(message=message)


def served_rows_validator(model: str) -> Callable[[pd.DataFrame], tuple[bool, tuple[Finding, ...]]]:
    """A function that holds served rows against the model's suite: (blocked, findings).

    Raises, when it is called:
        SpecError: as `load_served_suite`.
    """
    project = Installation.of().project
    spec = project.model(model)
    private = project.dataset(spec.dataset).personal

    def check(frame: pd.DataFrame) -> tuple[bool, tuple[Finding, ...]]:
        validation = validate(frame, load_served_suite(spec), private)
        return validation.blocked, validation.findings

    return check


@task(cache_policy=NO_CACHE)
def take_snapshot(model: str) -> snapshots.Snapshot:
    """Name everything that may train this model now."""
    here = Installation.of()
    dataset = here.project.dataset(here.project.model(model).dataset)
    taken = snapshots.take(here.ledger.read(), dataset, here.store)
    get_run_logger().info("snapshot %s of %s: %s", str(taken.ref)[:20], dataset.name, ", ".join(batch.batch for batch in taken.batches))
    return taken


def frames_on(snapshot: snapshots.Snapshot) -> Callable[[ModelSpec], pd.DataFrame]:
    """A function that gives the training frame of a model on a snapshot."""
    here = Installation.of()
    return snapshots.frames_of(snapshot, here.project.dataset(snapshot.dataset), here.project, here.store)
