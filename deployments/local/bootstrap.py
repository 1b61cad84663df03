"""The first turn of the loop on a new installation: ingest the first batches, train each model, wait until it is live."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.local import runs
from deployments.local.serving import addresses
from tasks import handoff
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.questions import accepted, live, open_decisions, quarantined, rows, waits_for_rows
from tasks.ledger.rows import BatchRow, ClosedRow
from tasks.spec import DatasetSpec, ModelSpec

if TYPE_CHECKING:
    from deployments.local.platform import Platform

LOOK_SECONDS = 0.5
REMIND_SECONDS = 15.0


def bootstrap(platform: "Platform") -> None:
    """Bring each model live that is not; with a ledger that has them all live this does nothing."""
    here = Installation.of(platform.settings)
    if here.ledger.read():
        handoff.start("reconcile/all", {})  # what an earlier start left open is taken up now, not when the schedule comes round
    for name in here.project.datasets():
        ingest(platform, here, here.project.dataset(name))
    models = [here.project.model(name) for name in here.project.models()]
    started = {spec.name: run for spec in models if (run := train(platform, here, spec))}
    for spec in models:
        until_live(platform, here, spec, started.get(spec.name, ""))
    announce(platform, here)


def ingest(platform: "Platform", here: Installation, spec: DatasetSpec) -> None:
    """Ingest the first batches of a dataset that the ledger does not know yet."""
    known = {row.batch for row in rows(here.ledger.read(), BatchRow, dataset=spec.name)}
    missing = [] if known and spec.period == "all" else [batch for batch in spec.first if batch not in known]
    if not missing:
        return
    deployment = f"ingest/{spec.name}"
    run = runs.waiting(deployment) or handoff.start(deployment, {"dataset": spec.name, "batches": missing})
    platform.say(f"ingesting {', '.join(missing)} of {spec.name}: {handoff.link(run)}")

    def taken() -> str:
        return f"{len({row.batch for row in rows(here.ledger.read(), BatchRow, dataset=spec.name)} - known)} of {len(missing)} batches"

    outcome = follow(platform, run, f"ingest of {spec.name}", taken)
    history = here.ledger.read()
    platform.say(f"ingest of {spec.name} {outcome.state_name}: {len(accepted(history, spec.name))} batches may train. {outcome.message}".rstrip())
    for batch in quarantined(history, spec.name):
        platform.say(f"batch {batch.batch} of {spec.name} is quarantined: {batch.reason}")


def train(platform: "Platform", here: Installation, spec: ModelSpec) -> str:
    """Start the first training of a model that is not live; returns its run, or nothing when it needs none."""
    history = here.ledger.read()
    if live(history, spec.name):
        return ""
    deployment = f"train/{spec.name}"
    if open_decisions(history, spec.name):
        platform.say(f"the first training of {spec.name} is taken up again")
        return ""
    if run := runs.waiting(deployment):
        return run
    if not accepted(history, spec.dataset):
        platform.say(f"{spec.name} cannot be trained: no batch of {spec.dataset} has been accepted. `ratchet ingest {spec.dataset}` takes one in")
        return ""
    run = handoff.start(deployment, {"model": spec.name, "trigger": "first"}, tags=("trigger:first",))
    platform.say(f"training {spec.name}: {handoff.link(run)}")
    return run


def until_live(platform: "Platform", here: Installation, spec: ModelSpec, run: str) -> None:
    """Wait until a model is live, or until nothing is under way any more that could bring it live."""
    told, at = "", time.monotonic()
    while True:
        history = here.ledger.read()
        if live(history, spec.name):
            return
        if end := _hopeless(history, spec, run):
            platform.say(f"{spec.name} is not live: {end}")
            return
        now = _stage(history, spec, run)
        if now != told or time.monotonic() - at > REMIND_SECONDS:
            platform.say(f"waiting for {spec.name} to be live: {now}")
            told, at = now, time.monotonic()
        platform.pause(LOOK_SECONDS)


def follow(platform: "Platform", run: str, what: str, progress: Callable[[], str]) -> handoff.RunOutcome:
    """Wait for a run, saying how far it is whenever that changes; an API that is away for a while is waited for."""
    told, at = "", time.monotonic()
    while True:
        try:
            outcome = handoff.state(run)
            if outcome.final:
                return outcome
            now = f"{runs.doing(run)}, {progress()}"
        except PlatformError as err:
            now = f"waiting for the Prefect API ({err})"
        if now != told or time.monotonic() - at > REMIND_SECONDS:
            platform.say(f"waiting for the {what}: {now}")
            told, at = now, time.monotonic()
        platform.pause(LOOK_SECONDS)


def announce(platform: "Platform", here: Installation) -> None:
    """Print where everything is."""
    history = here.ledger.read()
    settings = here.settings
    platform.say(f"UI       {settings.ui_url}   status: {settings.ui_url}/artifacts/key/status")
    for model, address in addresses(settings).items():
        release = live(history, model)
        platform.say(f"endpoint {address}/predict   {model} {release.version if release else ''}".rstrip())
    platform.say("ready; Ctrl-C or `ratchet down` stops everything")


def _hopeless(history: History, spec: ModelSpec, run: str) -> str:
    """Why nothing will bring the model live by itself; empty while something may."""
    if pending := open_decisions(history, spec.name):
        waits = waits_for_rows(history, pending[-1], spec.dataset)
        return f"decision {pending[-1].decision} waits for rows that may train" if waits else ""
    if closed := rows(history, ClosedRow, model=spec.name):
        return f"{closed[-1].outcome}: {closed[-1].reason}"
    if not run:
        return "nothing is under way"
    try:
        outcome = handoff.state(run)
    except PlatformError:
        return ""
    return f"its training is {outcome.state_name}. {outcome.message} {handoff.link(run)}" if outcome.final else ""


def _stage(history: History, spec: ModelSpec, run: str) -> str:
    """How far the newest decision is, by its newest row; what the run does while there is no row."""
    pending = open_decisions(history, spec.name)
    names = {decision.decision for decision in pending}
    newest = [entry.row for entry in history if entry.row.decision in names]
    doing = ""
    if run:
        try:
            doing = runs.doing(run)
        except PlatformError as err:
            doing = f"waiting for the Prefect API ({err})"
    kind = {"decision": "decided", "attempt": "training", "version": "version accepted, releasing it", "release": "releasing"}
    stage = kind.get(newest[-1].kind, newest[-1].kind) if newest else "not decided yet"
    return f"{stage} ({doing})" if doing and stage in {"training", "decided", "not decided yet"} else stage
