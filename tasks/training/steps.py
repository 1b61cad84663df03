"""What the train flow asks for, step by step. Thin shells around the stages; values and references between them, never frames."""

from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from tasks.artifact import publish
from tasks.installation import Installation
from tasks.ledger.questions import champion
from tasks.ledger.rows import GateResult, VersionRow
from tasks.order import Order
from tasks.store import Ref
from tasks.training.candidate import Candidate, Fitted, candidate
from tasks.training.job import Frames, Job, training_job
from tasks.training.page import gate_markdown, gate_sentence, model_card
from tasks.training.search import SearchResult
from tasks.training.stages import fit_stage, gate_stage, search_stage

DRILL_PASSED = "a drill never goes live, and this one should have been refused: the gate would have accepted it. Look into it before anything else is promoted"


def plan_training(order: Order, snapshot: Ref, frames: Frames) -> Job:
    """What all steps of this training share."""
    here = Installation.of()
    return training_job(here.project.model(order.model), frames, snapshot, here.project, here.store, order.settings, order.drill)


@task(cache_policy=NO_CACHE)
def search(job: Job) -> SearchResult:
    """Try families and parameters on the newest training rows."""
    found = search_stage(job)
    get_run_logger().info("searched %s: %s after %d trials, %s", job.spec.name, found.family, len(found.trials), found.reason)
    return found


@task(cache_policy=NO_CACHE)
def fit(job: Job, found: SearchResult) -> Fitted:
    """Fit on every training row, export, and keep the result in the store."""
    fitted = fit_stage(job, found)
    get_run_logger().info("fitted %s %s on %s rows: %s", job.spec.name, fitted.version, f"{fitted.rows:,}", fitted.parity)
    return fitted


@task(cache_policy=NO_CACHE)
def judge(job: Job, fitted: Fitted) -> GateResult:
    """Hold the challenger against the champion on rows that neither has seen. A drill is refused whatever its numbers say."""
    here = Installation.of()
    gate = gate_stage(job, fitted, champion(here.ledger.read(), job.spec.name))
    if gate.accepted and job.drill != "none":
        gate = gate.model_copy(update={"accepted": False, "reasons": (DRILL_PASSED, *gate.reasons)})
    get_run_logger().info("gate of %s %s: %s", job.spec.name, fitted.version, gate_sentence(gate))
    return gate


def version_row(order: Order, job: Job, found: SearchResult, fitted: Fitted, gate: GateResult, thresholds: dict[str, float], bento: Ref | None) -> VersionRow:
    """The row to register for what this training found."""
    done: Candidate = candidate(job, found, fitted, gate)
    actor = order.settings.approver or "ratchet"
    return done.row(order.attempt, order.decision, order.run, actor, bento, thresholds)


def report_version(version: VersionRow, found: SearchResult) -> State[Any]:
    """Show the gate's table and the model card, and end the run with the gate's sentence."""
    sentence = gate_sentence(version.gate)
    publish(f"{version.model}-gate", gate_markdown(version), f"**{sentence}**")
    publish(f"{version.model}-model-card", model_card(version, found), f"{version.version}: {version.family}, {version.format}, {version.rows:,} rows")
    return Completed(message=f"{version.version} {sentence}")
