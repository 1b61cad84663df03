"""The first turn of the loop, on whatever it runs: ingest the first batches, train each model, follow until it is live."""

import time
from collections.abc import Callable
from typing import Protocol

from deployments.local import runs
from tasks import handoff
from tasks.errors import PlatformError
from tasks.governance.decision import propose
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.questions import accepted, live, open_decisions, quarantined, rows, waits_for_rows
from tasks.ledger.rows import BatchRow, ClosedRow, ProposalRow
from tasks.spec import DatasetSpec, ModelSpec

LOOK_SECONDS = 0.5
REMIND_SECONDS = 15.0


class Narrator(Protocol):
    """Who tells people how far it is, and lets time pass in between."""

    def say(self, text: str) -> None:
        """Say one plain line."""

    def pause(self, seconds: float) -> None:
        """Wait."""


def missing(history: History, spec: DatasetSpec) -> list[str]:
    """The first batches of a dataset that the ledger does not know yet."""
    known = {row.batch for row in rows(history, BatchRow, dataset=spec.name)}
    return [] if known and spec.period == "all" else [batch for batch in spec.first if batch not in known]


def start_ingest(narrator: Narrator, here: Installation, spec: DatasetSpec) -> str:
    """Start to take in the first batches of a dataset that are missing; returns the run, or nothing when none is missing."""
    if not (batches := missing(here.ledger.read(), spec)):
        return ""
    deployment = f"ingest/{spec.name}"
    run = runs.waiting(deployment) or handoff.start(deployment, {"dataset": spec.name, "batches": batches})
    narrator.say(f"ingesting {', '.join(batches)} of {spec.name}: {handoff.link(run)}")
    return run


def ingest(narrator: Narrator, here: Installation, spec: DatasetSpec) -> None:
    """Take in the first batches of a dataset that are missing, and wait for them."""
    wanted = len(missing(here.ledger.read(), spec))
    if not (run := start_ingest(narrator, here, spec)):
        return

    def taken() -> str:
        return f"{wanted - len(missing(here.ledger.read(), spec))} of {wanted} batches"

    outcome = follow(narrator, run, f"ingest of {spec.name}", taken)
    history = here.ledger.read()
    narrator.say(f"ingest of {spec.name} {outcome.state_name}: {len(accepted(history, spec.name))} batches may train. {outcome.message}".rstrip())
    for batch in quarantined(history, spec.name):
        narrator.say(f"batch {batch.batch} of {spec.name} is quarantined: {batch.reason}")


def train(narrator: Narrator, here: Installation, spec: ModelSpec) -> str:
    """Start the first training of a model that is not live; returns its run, or nothing when it needs none."""
    history = here.ledger.read()
    if live(history, spec.name):
        return ""
    deployment = f"train/{spec.name}"
    if open_decisions(history, spec.name):
        narrator.say(f"the first training of {spec.name} is taken up again")
        return ""
    if run := runs.waiting(deployment):
        return run
    if not accepted(history, spec.dataset):
        narrator.say(f"{spec.name} cannot be trained: no batch of {spec.dataset} has been accepted. `ratchet ingest {spec.dataset}` takes one in")
        return ""
    run = handoff.start(deployment, {"model": spec.name, "trigger": "first"}, tags=("trigger:first",))
    narrator.say(f"training {spec.name}: {handoff.link(run)}")
    return run


def propose_first(here: Installation, spec: ModelSpec) -> None:
    """Let the engine decide on the first training of a model that was never live; its run is started when rows may train, by whoever brings them."""
    history = here.ledger.read()
    if not live(history, spec.name) and not open_decisions(history, spec.name):
        propose(here.ledger, spec, ProposalRow(model=spec.name, trigger="first", reason="first training"))


def until_live(narrator: Narrator, here: Installation, wanted: dict[str, tuple[ModelSpec, str]]) -> None:
    """Wait until each model is live, or until nothing is under way any more that could bring it live.

    Args:
        wanted: By model its spec, and the run that trains it or nothing.
    """
    told = Told(narrator)
    while wanted:
        history = here.ledger.read()
        for name, (spec, run) in list(wanted.items()):
            if release := live(history, name):
                told.say(name, f"{name} {release.version} is live")
            elif end := _hopeless(history, spec, run):
                narrator.say(f"{name} is not live: {end}")
            else:
                told.say(name, f"waiting for {name} to be live: {_stage(history, spec, run)}")
                continue
            del wanted[name]
        if wanted:
            narrator.pause(LOOK_SECONDS)


class Told:
    """Says a thing when it has changed, and again when it has not for a while."""

    def __init__(self, narrator: Narrator) -> None:
        self.narrator = narrator
        self.last: dict[str, tuple[str, float]] = {}

    def say(self, subject: str, text: str) -> None:
        """Say what stands about a subject."""
        before, at = self.last.get(subject, ("", 0.0))
        if text != before or time.monotonic() - at > REMIND_SECONDS:
            self.narrator.say(text)
            self.last[subject] = (text, time.monotonic())


def follow(narrator: Narrator, run: str, what: str, progress: Callable[[], str]) -> handoff.RunOutcome:
    """Wait for a run, saying how far it is; an API that is away for a while is waited for."""
    told = Told(narrator)
    while True:
        try:
            outcome = handoff.state(run)
            if outcome.final:
                return outcome
            now = f"{runs.doing(run)}, {progress()}"
        except PlatformError as err:
            now = f"waiting for the Prefect API ({err})"
        told.say(what, f"waiting for the {what}: {now}")
        narrator.pause(LOOK_SECONDS)


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
