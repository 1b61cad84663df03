"""The first turn of the loop on a new installation: ingest the first batches, train each model, wait until it is live."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.local import runs
from deployments.local.serving import endpoints
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
    until_live(platform, here, {spec.name: (spec, train(platform, here, spec)) for spec in models})
    until_answering(platform)
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


def until_live(platform: "Platform", here: Installation, wanted: dict[str, tuple[ModelSpec, str]]) -> None:
    """Wait until each model is live, or until nothing is under way any more that could bring it live.

    Args:
        wanted: By model its spec, and the run that trains it or nothing.
    """
    told = Told(platform)
    while wanted:
        history = here.ledger.read()
        for name, (spec, run) in list(wanted.items()):
            if release := live(history, name):
                told.say(name, f"{name} {release.version} is live")
            elif end := _hopeless(history, spec, run):
                platform.say(f"{name} is not live: {end}")
            else:
                told.say(name, f"waiting for {name} to be live: {_stage(history, spec, run)}")
                continue
            del wanted[name]
        if wanted:
            platform.pause(LOOK_SECONDS)


def until_answering(platform: "Platform") -> None:
    """Wait until each endpoint answers; one that cannot is told with its problem and not waited for."""
    told = Told(platform)
    while True:
        waiting = {name: endpoint for name, endpoint in endpoints(platform.settings).items() if not endpoint.live}
        for name, endpoint in waiting.items():
            told.say(name, f"waiting for {endpoint.address} ({name})" + (f": {endpoint.problem}" if endpoint.problem else ""))
        if not any(not endpoint.problem for endpoint in waiting.values()):
            return
        platform.pause(LOOK_SECONDS)


class Told:
    """Says a thing when it has changed, and again when it has not for a while."""

    def __init__(self, platform: "Platform") -> None:
        self.platform = platform
        self.last: dict[str, tuple[str, float]] = {}

    def say(self, subject: str, text: str) -> None:
        """Say what stands about a subject."""
        before, at = self.last.get(subject, ("", 0.0))
        if text != before or time.monotonic() - at > REMIND_SECONDS:
            self.platform.say(text)
            self.last[subject] = (text, time.monotonic())


def follow(platform: "Platform", run: str, what: str, progress: Callable[[], str]) -> handoff.RunOutcome:
    """Wait for a run, saying how far it is; an API that is away for a while is waited for."""
    told = Told(platform)
    while True:
        try:
            outcome = handoff.state(run)
            if outcome.final:
                return outcome
            now = f"{runs.doing(run)}, {progress()}"
        except PlatformError as err:
            now = f"waiting for the Prefect API ({err})"
        told.say(what, f"waiting for the {what}: {now}")
        platform.pause(LOOK_SECONDS)


def announce(platform: "Platform", here: Installation) -> None:
    """Print where everything is."""
    history = here.ledger.read()
    settings = here.settings
    platform.say(f"UI       {settings.ui_url}   status: {settings.ui_url}/artifacts/key/status")
    for model, endpoint in endpoints(settings).items():
        release = live(history, model)
        platform.say(f"endpoint {endpoint.address}/predict   {model} {release.version if release else ''}".rstrip())
    platform.say("ready; Ctrl-C or `ratchet down` stops everything")


def _hopeless(history: History, spec: ModelSpec, run: str) -> str:
    """Why nothing will bring the model live by itself; empty while something may."""
    if pending := open_decisions(history, spec.name):
        waits = waits_for_rows(history, pending[-1], spec.dataset)
        return f"decision {pending[-1].decision} waits for rows that may train" if waits else ""
    try:
        outcome = handoff.state(run) if run else None
    except PlatformError:
        return ""
    if outcome and not outcome.final:
        return ""
    if closed := rows(history, ClosedRow, model=spec.name):
        return f"{closed[-1].outcome}: {closed[-1].reason}"
    return f"its training is {outcome.state_name}. {outcome.message} {handoff.link(run)}" if outcome else "nothing is under way"


def _stage(history: History, spec: ModelSpec, run: str) -> str:
    """How far the newest decision is, by its newest row, and what its run does now."""
    pending = open_decisions(history, spec.name)
    newest = [entry.row.kind for entry in history if pending and entry.row.decision == pending[-1].decision]
    words = {"decision": "decided", "attempt": "training", "version": "version accepted", "release": "releasing"}
    try:
        doing = runs.at_work(pending[-1].decision) if pending else runs.doing(run) if run else ""
    except PlatformError as err:
        doing = f"waiting for the Prefect API: {err}"
    return (words.get(newest[-1], newest[-1]) if newest else "not decided yet") + (f" ({doing})" if doing else "")
