"""What flows ask of governance: decide, grant, hand over, show the status. Thin shells around the rules beside this file."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect import Flow, State, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun

from tasks import handoff
from tasks.artifact import newest, publish
from tasks.errors import AppendRefusedError
from tasks.governance import pursuit
from tasks.governance.decision import propose, record
from tasks.governance.proposals import changes
from tasks.governance.status_page import status_markdown
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.questions import newest_time, open_decisions, retrain_decisions
from tasks.ledger.rows import AnyRow, ProposalRow, Trigger, VersionRow
from tasks.order import Drill, Order, TrainingSettings
from tasks.settings import Settings
from tasks.spec import ModelSpec


def model_names() -> list[str]:
    """Names of every model, for a flow to go through."""
    return Installation.of().project.models()


def models_of(dataset: str) -> list[str]:
    """Names of the models a dataset feeds."""
    return [spec.name for spec in Installation.of().project.models_of(dataset)]


@task(cache_policy=NO_CACHE)
def take_order(model: str, trigger: Trigger, decision: str, attempt: int, settings: TrainingSettings, drill: Drill) -> Order:
    """The attempt this run holds. A run that a person or a schedule started proposes first, like everybody else.

    Started a second time under the same id, it takes up what it proposed the first time.
    """
    here = Installation.of()
    spec, history, run = here.project.model(model), here.ledger.read(), runtime.flow_run.id or ""
    if decision:
        if lost := pursuit.lost(history, model, decision, attempt):
            raise AppendRefusedError(f"Attempt {attempt} at {decision}", lost)
        return Order(model=model, decision=decision, attempt=attempt, settings=settings, drill=drill, run=run)
    own = [decided for decided in retrain_decisions(history, model) if run and decided.run == run]
    lease_until = pursuit.now_utc() + timedelta(seconds=_lease_seconds(here.settings, spec))
    decided = own[-1] if own else propose(here.ledger, spec, _proposal(spec, history, trigger, settings, drill, run), lease_until)
    if decided.action == "ignore":
        return Order(model=model, run=run, refused=decided.reason)
    if own and (lost := pursuit.lost(history, model, decided.decision, 1)):
        return Order(model=model, run=run, refused=f"attempt 1 at {decided.decision} is over: {lost}")
    handoff.tag(f"decision:{decided.decision}")
    return Order(model=model, decision=decided.decision, attempt=1, settings=settings, drill=drill, run=run)


def _proposal(spec: ModelSpec, history: History, trigger: Trigger, settings: TrainingSettings, drill: Drill, run: str) -> ProposalRow:
    return ProposalRow(
        model=spec.name,
        trigger="new_settings" if trigger == "on_demand" and settings.differs() else trigger,
        actor=settings.approver or "ratchet",
        run=run,
        event_time=newest_time(history, spec.dataset) if trigger == "schedule" else None,  # a person stands outside the data's clock
        reason=settings.reason or f"{trigger.replace('_', ' ')} training",
        settings=settings.changed(),
        drill=drill,
    )


def _lease_seconds(settings: Settings, spec: ModelSpec) -> float:
    """On a cluster at least as long as a training's pod may wait and run: until then it is no use to start a second one beside it."""
    longest = settings.pending_seconds + spec.training.deadline_seconds if settings.target == "kubernetes" else 0.0
    return max(settings.lease_seconds, longest)


@task(cache_policy=NO_CACHE)
def register(version: VersionRow) -> VersionRow:
    """Record the one version of a decision; a late orphan's is refused."""
    pursuit.register(Installation.of().ledger, version)
    return version


def close_failed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  # Prefect passes it
    """Hook of a training that raised an error: it would come again, so the decision ends, unless another attempt has taken it over.

    A crash is another matter: that one is tried again.
    """
    here, given = Installation.of(), flow_run.parameters
    model, run = str(given["model"]), str(flow_run.id)
    own = [(d.decision, 1) for d in open_decisions(here.ledger.read(), model) if d.run == run]  # this run proposed it, and held the first attempt
    for decision, attempt in [(given["decision"], given["attempt"])] if given.get("decision") else own:
        pursuit.give_up(here.ledger, model, decision, attempt, state.message or "the training failed", run)


@task(cache_policy=NO_CACHE)
def record_findings(model: str, windows: Sequence[Sequence[AnyRow]]) -> None:
    """Record each judged window together with what it proposes and what the engine decides on that."""
    here = Installation.of()
    for rows in windows:
        try:
            record(here.ledger, here.project.model(model), rows)
        except AppendRefusedError as err:  # another run judged the same window meanwhile, and its record stands
            get_run_logger().info("not recorded again: %s", err)


@task(cache_policy=NO_CACHE)
def propose_changes(model: str) -> None:
    """Let the engine decide on new batches and changed folders, where the model's spec wants that."""
    here = Installation.of()
    spec = here.project.model(model)
    found = changes(here.ledger.read(), spec, here.project.code_digest(model))
    record(here.ledger, spec, [proposal.model_copy(update={"run": runtime.flow_run.id or ""}) for proposal in found])


@task(cache_policy=NO_CACHE)
def hand_over(model: str) -> list[str]:
    """Start the run that each open decision of a model needs next; returns the started runs' ids."""
    here = Installation.of()
    spec, settings, started = here.project.model(model), here.settings, []
    lease = _lease_seconds(settings, spec)
    for decision in open_decisions(here.ledger.read(), model):
        try:
            found = pursuit.pursue(here.ledger, spec, decision, pursuit.now_utc(), lease, settings.max_attempts, handoff.state_of)
        except AppendRefusedError as err:  # another run pursues it in this very moment
            get_run_logger().info("left to another run: %s", err)
            continue
        if found:
            started.append(handoff.start(found.deployment, found.parameters, key=found.key, tags=found.tags))
    return started


@task(cache_policy=NO_CACHE)
def publish_status() -> None:
    """Write the one page that says what is live and what waits for a person, unless the ledger stands where the last page left it.

    The whole page is the artifact's description too: under its fixed address the UI shows that, and the body only a click further.
    """
    here = Installation.of()
    if here.ledger.head() not in newest("status"):
        page = status_markdown(here)
        publish("status", page.markdown, page.markdown)
