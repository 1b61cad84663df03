"""What flows ask of release: package a version, plan, try out, roll out, restore. Thin shells around the target."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from bentos.runtime.release import Release
from tasks.artifact import publish
from tasks.errors import RatchetError
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.database import LedgerAwayError
from tasks.ledger.questions import live, open_decisions, rows
from tasks.ledger.rows import ClosedRow, ReleaseRow
from tasks.release.local import LocalTarget
from tasks.release.package import build
from tasks.release.page import timeline_markdown
from tasks.release.plan import Plan, choose, release_id
from tasks.release.preflight import preflight
from tasks.release.target import ServingStatus, Target
from tasks.store import Ref

LEDGER_SECONDS = 120.0  # beyond the ledger's own patience: a PostgreSQL that moves to another node is away for longer than one that restarts
GRACE_SECONDS = 10.0  # beyond the target's own limit, so that its verdict is heard and not our impatience


def target() -> Target:
    """Where this installation serves its models."""
    here = Installation.of()
    specs = {name: here.project.model(name) for name in here.project.models()}
    if here.settings.target == "kubernetes":
        from tasks.release.kubernetes import KubernetesTarget  # its client takes half a second to import

        return KubernetesTarget(here.settings, specs)
    slots = {name: spec.serving.slot for name, spec in specs.items()}
    return LocalTarget(here.settings, {name: here.settings.endpoint_port + slot for name, slot in slots.items() if slot is not None})


def endpoint_addresses() -> dict[str, str]:
    """Base URL of each model's endpoint, as this flow run reaches it."""
    return target().addresses()


@task(cache_policy=NO_CACHE)
def package(model: str, version: str, artefact: Ref) -> Ref:
    """Pack a version's model files and code into a bento and keep it in the store."""
    here = Installation.of()
    with TemporaryDirectory() as temporary:
        files = here.store.get_tree(artefact, Path(temporary) / "artefact")
        return here.store.put_tree(build(here.project.model(model), files, version, here.project, Path(temporary) / "bento"))


@task(cache_policy=NO_CACHE)
def plan_release(model: str, version: str, decision: str, approver: str, reason: str) -> Plan:
    """Choose the version and record that its release has started.

    Raises:
        ReleaseError: it may not go live.
    """
    here = Installation.of()
    spec = here.project.model(model)
    planned: list[Plan] = []

    def decide(history: History) -> list[ReleaseRow]:
        chosen, today = choose(history, model, version), live(history, model)
        name = release_id(history, model)
        made = Release(id=name, model=model, version=chosen.version, bento=chosen.bento, artefact=chosen.artefact, lock=chosen.lock)
        why = reason or ("; ".join(chosen.gate.reasons) if version != "previous" else "rolled back")
        planned[:] = [Plan(made, today.version if today else "", decision, approver or "ratchet", why)]
        return [_row(planned[0], "started")]

    here.ledger.transact(decide)
    get_run_logger().info("release %s of %s %s: %s", planned[0].object.id, spec.name, planned[0].object.version, planned[0].reason)
    return planned[0]


@task(cache_policy=NO_CACHE)
def try_out(plan: Plan) -> str:
    """Ask the version questions with known answers in a throw-away server; what was wrong, or the empty string."""
    here = Installation.of()
    with TemporaryDirectory() as temporary:
        try:
            bento = here.store.get_tree(Ref.parse(plan.object.bento), Path(temporary) / "bento")
            preflight(plan.object, bento, here.project.model(plan.object.model), here.settings)
        except RatchetError as err:
            return str(err)
    return ""


@task(cache_policy=NO_CACHE)
def roll_out(plan: Plan, problem: str) -> ReleaseRow:
    """Let the version take over, and record that it is live or that it was undone; the decision ends with it."""
    here, place, started = Installation.of(), target(), time.monotonic()
    if not problem:
        try:
            place.apply(plan.object, here.store)
            place.wait_ready(plan.object, here.settings.ready_seconds + GRACE_SECONDS)
        except RatchetError as err:
            problem = str(err)
    row = _row(plan, "undone" if problem else "live", problem or plan.reason, round(time.monotonic() - started, 2))
    outcome = ClosedRow(
        model=row.model, decision=plan.decision, run=row.run, actor=plan.actor, outcome="undone" if problem else "promoted", reason=problem or plan.reason
    )

    recorded = [row]

    def record(history: History) -> list[ReleaseRow | ClosedRow]:
        ended = [each for each in rows(history, ReleaseRow, model=row.model, release=row.release) if each.step != "started"]
        if ended:  # by this run, whose reply was lost, or by reconcile, which gave the run up and puts right what answers
            recorded[:] = ended
            return []
        return [row, *([outcome] if any(d.decision == plan.decision for d in open_decisions(history, row.model)) else [])]

    _patiently(lambda: here.ledger.transact(record))
    return recorded[-1]


@task(cache_policy=NO_CACHE)
def restore_live_release(model: str) -> None:
    """Make the target serve what the ledger calls live: a release run that died may have left it with another one, or half-way to it.

    A release that started within the lease may still be under way and is left alone; an older one that never ended is recorded as undone.
    """
    here, serving = Installation.of(), target().status().get(model)
    history = here.ledger.read()  # after the target was asked: what goes live in between is then not taken for a stray
    hanging = _hanging(history, model)
    limit = datetime.now(UTC) - timedelta(seconds=here.settings.lease_seconds)
    if any(row.recorded_at and row.recorded_at > limit and _under_way(row.run) for row in hanging):
        return
    undone = {"step": "undone", "reason": "its run ended before the version was live"}
    # Looked at again: a run that has ended may have recorded its release after the ledger was read.
    here.ledger.transact(lambda now: [row.model_copy(update=undone) for row in _hanging(now, model) if row in hanging])
    history = here.ledger.read()
    wanted = live(history, model)
    if wanted is None:
        if serving and rows(history, ReleaseRow, model=model):
            get_run_logger().warning("%s serves %s, the ledger says that nothing is live: removing it", model, serving.release or serving.tried)
            target().remove(model)
    elif serving is None or serving.release != wanted.release or _half_way(serving):
        release = Release.model_validate(wanted.object)
        get_run_logger().warning("%s serves %s, the ledger says %s: restoring it", model, serving.release if serving else "nothing", wanted.release)
        target().apply(release, here.store)
        target().wait_ready(release, here.settings.ready_seconds)


def report_release(plan: Plan, outcome: ReleaseRow) -> State[Any]:
    """Show the timeline of releases, and end the run as the release ended."""
    history = Installation.of().ledger.read()
    sentence = f"{plan.object.version} is live" if outcome.step == "live" else f"{plan.object.version} was undone: {outcome.reason}"
    publish(f"{outcome.model}-releases", timeline_markdown(history, outcome.model), f"**{'✅' if outcome.step == 'live' else '❌'} {sentence}**")
    return Completed(message=f"{sentence} ({outcome.reason})") if outcome.step == "live" else Failed(message=sentence)


def _row(plan: Plan, step: str, reason: str = "", seconds: float | None = None) -> ReleaseRow:
    return ReleaseRow(
        model=plan.object.model,
        release=plan.object.id,
        version=plan.object.version,
        step=step,
        reason=reason or plan.reason,
        previous=plan.previous,
        object=plan.object.model_dump(mode="json"),
        seconds=seconds,
        decision=plan.decision,
        actor=plan.actor,
        run=flow_run.id or "",
    )


def _hanging(history: History, model: str) -> list[ReleaseRow]:
    """Releases that have started and neither went live nor were undone."""
    ended = {row.release for row in rows(history, ReleaseRow, model=model) if row.step != "started"}
    return [row for row in rows(history, ReleaseRow, model=model, step="started") if row.release not in ended]


def _half_way(serving: ServingStatus) -> bool:
    """True when another release than the one that answers was asked for, and nobody has heard how that ended."""
    return serving.tried not in ("", serving.release) and not serving.refused


def _patiently(call: Callable[[], object]) -> None:
    """Call again while the ledger's database is away, for LEDGER_SECONDS: what went live must be recorded."""
    until = time.monotonic() + LEDGER_SECONDS
    while True:
        try:
            call()
            return
        except LedgerAwayError:  # if it is not known whether the rows were recorded, `call` finds out
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _under_way(run: str) -> bool:
    from tasks import handoff

    return bool(run) and not handoff.state(run).final
