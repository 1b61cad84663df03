"""What an operator does in the UI, for programs: start a run of a deployment, and with --wait exit with its outcome."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from deployments.commands import outcome
from deployments.commands.console import WaitOption, settings
from deployments.commands.outcome import Outcome
from tasks.errors import PlatformError, UnknownNameError
from tasks.ledger.chain import History, Ledger
from tasks.ledger.questions import accepted
from tasks.project import Project
from tasks.settings import Settings
from tasks.spec import DatasetSpec

Model = Annotated[str, typer.Argument(help="Name of a folder in bentos/.")]
Dataset = Annotated[str, typer.Argument(help="Name of a folder in expectations/.")]
Approver = Annotated[str, typer.Option(help="Your name; the ledger keeps it.")]
Reason = Annotated[str, typer.Option(help="Why; the ledger keeps it.")]


def train(
    model: Model,
    trials: Annotated[int, typer.Option(min=0, max=1000, help="Trials of the search; 0: as the spec says.")] = 0,
    rows: Annotated[int, typer.Option(min=0, help="Newest rows each trial sees; 0: as the spec says.")] = 0,
    seed: Annotated[int, typer.Option(min=-1, help="Seed of search and estimators; -1: the spec's.")] = -1,
    drill: Annotated[str, typer.Option(help="'shuffled_labels' spoils the labels, to see the gate refuse.")] = "none",
    approver: Approver = "",
    reason: Reason = "",
    wait: WaitOption = False,
) -> None:
    """Train a challenger; when the gate accepts it, it is released. A dataset's first batches are ingested before."""
    found = settings()
    spec = Project.of(found).model(model)
    _ingest_first(found, Project.of(found).dataset(spec.dataset))
    chosen = {"trials": (trials, 0), "rows": (rows, 0), "seed": (seed, -1), "approver": (approver, ""), "reason": (reason, "")}
    changed = {name: value for name, (value, default) in chosen.items() if value != default}
    parameters: dict[str, Any] = {"model": model} | ({"settings": changed} if changed else {}) | ({"drill": drill} if drill != "none" else {})
    run = _start(found, f"train/{model}", parameters)
    if wait:
        _finish(_promoted(found, run))


def ingest(
    dataset: Dataset,
    batches: Annotated[list[str] | None, typer.Argument(help="Batches such as 2013-04; none: those that are due.")] = None,
    uri: Annotated[str, typer.Option(help="Take the one batch from this file.")] = "",
    wait: WaitOption = False,
) -> None:
    """Take raw batches in, or set them aside with the reason. With --wait a quarantined batch is exit code 1."""
    found = settings()
    Project.of(found).dataset(dataset)
    parameters = {"dataset": dataset, "batches": batches or [], "uri": uri}
    _run(found, f"ingest/{dataset}", parameters, wait, lambda added: outcome.ingested(added, dataset))


def waive(dataset: Dataset, batch: str, approver: Approver, reason: Reason, wait: WaitOption = False) -> None:
    """Let a quarantined batch in; the ledger keeps who and why."""
    found = settings()
    Project.of(found).dataset(dataset)
    parameters = {"dataset": dataset, "batch": batch, "approver": approver, "reason": reason}
    _run(found, f"waive/{dataset}", parameters, wait, lambda added: outcome.waived(added, dataset, batch))


def release(
    model: Model,
    version: Annotated[str, typer.Argument(help="Name of a version; none: the newest that the gate accepted.")] = "",
    approver: Approver = "",
    reason: Reason = "",
    wait: WaitOption = False,
) -> None:
    """Take a version live."""
    found = settings()
    Project.of(found).model(model)
    parameters = {"model": model, "version": version, "approver": approver, "reason": reason}
    _run(found, f"release/{model}", parameters, wait, lambda added: outcome.released(added, model))


def rollback(model: Model, approver: Approver = "", reason: Reason = "", wait: WaitOption = False) -> None:
    """Bring back the version that was live before the present one."""
    found = settings()
    Project.of(found).model(model)
    _run(found, f"rollback/{model}", {"model": model, "approver": approver, "reason": reason}, wait, lambda added: outcome.released(added, model))


def monitor(model: Model, wait: WaitOption = False) -> None:
    """Judge the windows of live traffic that have closed."""
    found = settings()
    Project.of(found).model(model)
    _run(found, f"monitor/{model}", {"model": model}, wait, lambda added: outcome.monitored(added, model))


def _run(found: Settings, deployment: str, parameters: dict[str, Any], wait: bool, done: Callable[[History], Outcome]) -> None:
    """Start a run; when waited for, exit 0 only if it completed and the ledger says that the thing was done."""
    ledger = Ledger.of(found)
    before = len(ledger.read())
    run = _start(found, deployment, parameters)
    if not wait:
        return
    if failed := _failed(run):
        _finish(failed)
    _finish(done([entry for entry in ledger.read()[before:] if entry.row.run in ("", run)]))  # others' runs go on meanwhile


def _start(found: Settings, deployment: str, parameters: dict[str, Any]) -> str:
    """Start a run, registering the deployments first when this one is new: its folder may be younger than the platform."""
    from deployments.register import register
    from tasks import handoff

    try:
        run = handoff.start(deployment, parameters)
    except UnknownNameError:
        register(found)
        run = handoff.start(deployment, parameters)
    typer.echo(f"started {deployment}: {handoff.link(run)}")
    return run


def _ingest_first(found: Settings, spec: DatasetSpec) -> None:
    """Ingest what a new installation would, when the ledger holds no batch of the dataset that may train."""
    ledger = Ledger.of(found)
    if accepted(ledger.read(), spec.name) or not spec.first:
        return
    run = _start(found, f"ingest/{spec.name}", {"dataset": spec.name, "batches": list(spec.first)})
    if failed := _failed(run):
        _finish(failed)
    if not accepted(ledger.read(), spec.name):
        _finish(outcome.ingested(ledger.read(), spec.name))


def _promoted(found: Settings, run: str) -> Outcome:
    """Follow a training from run to run until its decision has ended."""
    from deployments.local.runs import newest_run

    ledger, followed = Ledger.of(found), [run]
    while True:
        if failed := _failed(followed[-1]):
            return failed
        history = ledger.read()
        if (ended := outcome.trained(history, followed)) is not None:
            return ended
        follower = newest_run(outcome.decided(history, followed), besides=followed)
        if not follower:
            return Outcome(False, "its decision is still open, and no run follows; `ratchet status` says what it waits for")
        followed.append(follower)


def _failed(run: str) -> Outcome | None:
    """Wait for a run; what went wrong unless it completed."""
    from tasks import handoff

    ended = handoff.wait(run)
    return None if ended.completed else Outcome(False, f"{ended.state_name}: {ended.message} {handoff.link(run)}")


def _finish(result: Outcome) -> None:
    typer.echo(result.sentence, err=not result.done)
    raise typer.Exit(0 if result.done else 1)


def pause(name: Annotated[str, typer.Argument(help="A deployment such as monitor/flights_late, or a model: all of its.")]) -> None:
    """Pause schedules; they stay paused over a restart and a deploy."""
    _switch(name, active=False)


def resume(name: Annotated[str, typer.Argument(help="A deployment such as monitor/flights_late, or a model: all of its.")]) -> None:
    """Resume paused schedules."""
    _switch(name, active=True)


def _switch(name: str, active: bool) -> None:
    from deployments.local.runs import switch_schedules

    settings()
    switched = switch_schedules(name, active)
    if not switched:
        raise PlatformError(f"{name!r} has no schedule", "Schedules are on monitor/MODEL, reconcile/all, and on train/MODEL when its model.toml sets one.")
    typer.echo(f"{'resumed' if active else 'paused'} {', '.join(switched)}")
