"""Flow runs as the platform sees them: what is in flight, what claims to be although its process is gone, and the pool they run in."""

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tasks.errors import PlatformError, UnknownNameError
from tasks.prefect_api import connection

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import FlowRun, State

PAGE = 200
LOOKS, LOOK_SECONDS = 10, 0.3


def ensure_pool(name: str, command: str, folder: Path) -> None:
    """Create or update the process pool so that each run is started by `command` in `folder`."""
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["command"]["default"], variables["working_dir"]["default"] = command, str(folder)
    put_pool(name, "process", template)


def put_pool(name: str, kind: str, template: dict[str, Any]) -> None:
    """Create or update a work pool.

    Raises:
        PlatformError: there is one of that name for another kind of worker.
    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    with connection() as client:
        try:
            found = client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
            return
        if found.type != kind:
            raise PlatformError(
                f"The work pool {name!r} is of type {found.type!r}, not {kind!r}", "Set RATCHET_WORK_POOL to another name, or delete it in the UI."
            )
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template, is_paused=False))


def in_flight(client: "SyncPrefectClient") -> "list[FlowRun]":
    """Runs that claim a process: pending, running, cancelling, or paused in place (a suspended run holds none)."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=len(found)):
        found += page
    return [run for run in found if run.state is None or run.state.name != "Suspended"]


def waiting(deployment: str) -> str | None:
    """Id of a run of the deployment that is in flight or due, for instance from before a restart; None when there is none."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    states = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]
    with connection() as client:
        found = client.read_deployment_by_name(deployment)
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])),
        )
    return next((str(run.id) for run in runs if not run.auto_scheduled), None)


def crash_stale(reason: str) -> int:
    """Mark every run that claims a process as Crashed; to be called only when no process of a run is left. Returns how many."""
    from prefect.states import Crashed

    return _end_all(lambda: Crashed(message=reason))


def cancel_left(reason: str) -> int:
    """Mark every run that still claims a process as Cancelled; to be called only when no process of a run is left."""
    from prefect.states import Cancelled

    return _end_all(lambda: Cancelled(message=reason))


def drop_missed() -> None:
    """Delete scheduled runs whose time has passed while nobody polled: a schedule goes on from now, it does not catch up."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterExpectedStartTime, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.types._datetime import now

    missed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=now("UTC")),
    )
    with connection() as client:
        offset = 0
        while page := client.read_flow_runs(flow_run_filter=missed, limit=PAGE, offset=offset):
            for run in page:
                if run.auto_scheduled:
                    client.delete_flow_run(run.id)
            offset += sum(not run.auto_scheduled for run in page)


def cancel_all(patience_seconds: float, pause: Callable[[float], None] = time.sleep) -> int:
    """Ask every run in flight to cancel and give them a short while to end in order; returns how many there were."""
    from prefect.states import Cancelling

    with connection() as client:
        runs = in_flight(client)
        for run in runs:
            client.set_flow_run_state(run.id, Cancelling(message="`ratchet up` is stopping"))
        deadline = time.monotonic() + patience_seconds
        while in_flight(client) and time.monotonic() < deadline:
            pause(0.2)
    return len(runs)


def doing(run_id: str) -> str:
    """What a run is at, for people who wait: its state and the task that runs now."""
    with connection() as client:
        return _doing(client, client.read_flow_run(UUID(run_id)))


def at_work(decision: str) -> str:
    """What the newest run for a decision is at; empty when none is due or in flight."""
    from prefect.client.schemas.sorting import FlowRunSort

    with connection() as client:
        found = client.read_flow_runs(flow_run_filter=_tagged(decision), sort=FlowRunSort.START_TIME_DESC)
        return next((_doing(client, run) for run in found if run.state and not run.state.is_final()), "")


def _doing(client: "SyncPrefectClient", run: "FlowRun") -> str:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    state = run.state.name if run.state else "Unknown"
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])), sort=TaskRunSort.EXPECTED_START_TIME_DESC, limit=1)
    return f"{state}, at {tasks[0].name.rpartition('-')[0] or tasks[0].name}" if tasks and state == "Running" else str(state)


def newest_run(decision: str, besides: Collection[str]) -> str | None:
    """Id of the newest run for a decision, whoever started it: its training, a reconcile, a monitoring; None when there is none but `besides`."""
    with connection() as client:
        found = [run for run in client.read_flow_runs(flow_run_filter=_tagged(decision)) if str(run.id) not in besides]
    return str(max(found, key=lambda run: str(run.created)).id) if found else None


def switch_schedules(name: str, active: bool) -> list[str]:
    """Pause or resume every schedule of a deployment `flow/name`, or of all deployments of a model; returns those deployments.

    Raises:
        UnknownNameError: there is no such deployment or model.
    """
    with connection() as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        known = {f"{flows[found.flow_id]}/{found.name}": found for found in client.read_deployments()}
        meant = {full: found for full, found in known.items() if full == name or f"model:{name}" in found.tags}
        if not meant:
            raise UnknownNameError("deployment or model", name, known, "Prefect")
        switched = []
        for full, found in meant.items():
            for schedule in found.schedules:
                if schedule.id:
                    client.update_deployment_schedule(found.id, schedule.id, active=active)
                    switched.append(full)
    return switched


def _tagged(decision: str) -> "FlowRunFilter":
    """Runs for a decision, which each carry its name."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    return FlowRunFilter(tags=FlowRunFilterTags(all_=[f"decision:{decision}"]))


def _end_all(state: "Callable[[], State[None]]") -> int:
    """Set the state until a second look finds nothing: what a killed worker had sent may arrive after the first."""
    ended: set[UUID] = set()
    with connection() as client:
        for _ in range(LOOKS):
            runs = in_flight(client)
            for run in runs:
                client.set_flow_run_state(run.id, state(), force=True)
            if not runs and ended:
                return len(ended)
            ended |= {run.id for run in runs}
            if not ended:
                return 0
            time.sleep(LOOK_SECONDS)
    raise PlatformError(f"Runs go on claiming to be in flight ({', '.join(map(str, ended))})", "Delete them in the UI.")
