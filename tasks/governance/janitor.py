"""Runs that Prefect still counts on although nothing runs them any more, or ever will."""

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from tasks.settings import Settings

HEARTBEATS_MISSED = 3
PAGE = 200
DIAGNOSIS = "kubernetes.diagnosis"  # label that the worker's observer gives an event of a pod that cannot start


@task(cache_policy=NO_CACHE)
def bury_dead_runs() -> list[str]:
    """Mark as crashed what runs without a heartbeat, and what waits too long for its process or pod; who pursues a decision then tries again.

    Three heartbeats missed: its machine died, and no worker was left to say so. Never started: its image cannot be pulled, no node has room
    for it, or the worker died between taking it and starting it. Prefect's own zombie automation is not used, because it also kills paused
    runs (Prefect issues 21932, 18653).
    """
    with get_client(sync_client=True) as client:
        found = [*_silent(client), *_never_started(client, timedelta(seconds=Settings().pending_seconds))]
        for run, why in found:
            client.set_flow_run_state(run.id, Crashed(message=why), force=True)
            get_run_logger().warning("called crashed: %s: %s", run.name, why)
    return [run.name for run, _ in found]


def _silent(client: SyncPrefectClient) -> list[tuple[FlowRun, str]]:
    from prefect.settings import get_current_settings

    every = get_current_settings().flows.heartbeat_frequency or 180
    limit = datetime.now(UTC) - timedelta(seconds=HEARTBEATS_MISSED * every)
    why = f"No heartbeat since {limit:%H:%M:%S} UTC: the process that ran it is gone."
    return [(run, why) for run in _in_state(client, StateType.RUNNING, StateType.CANCELLING) if _last_sign(client, run) < limit]


def _never_started(client: SyncPrefectClient, patience: timedelta) -> list[tuple[FlowRun, str]]:
    limit = datetime.now(UTC) - patience
    late = [run for run in _in_state(client, StateType.PENDING) if run.state and run.state.timestamp < limit]
    return [(run, f"Not started within {patience.total_seconds():.0f} s. {_word_of_the_pod(client, run)}") for run in late]


def _in_state(client: SyncPrefectClient, *types: StateType) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))), limit=PAGE)


def _last_sign(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """Time of a run's newest sign of life: its newest heartbeat, or its last change of state."""
    beats = _events(client, {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run.id}"]}}, 1)
    since = run.state.timestamp if run.state else datetime.now(UTC)
    return max([since, *(datetime.fromisoformat(beat["occurred"]) for beat in beats)])


def _word_of_the_pod(client: SyncPrefectClient, run: FlowRun) -> str:
    """What Prefect heard of the run's pod, in one sentence."""
    told = _events(client, {"event": {"prefix": ["prefect.kubernetes.pod."]}, "related": {"id": [f"prefect.flow-run.{run.id}"]}}, 20)
    if not told:
        return "Nothing is known of a process or pod of it: the worker died, or could not make one."
    # Every event of a pod that waits has the time at which it was made, so that the newest is not known: the one with a diagnosis says more.
    event = next((each for each in told if DIAGNOSIS in each["resource"]), told[0])
    name, cause = event["resource"].get("prefect.resource.name", ""), event["resource"].get(DIAGNOSIS, "")
    return f"Its pod {name} is {event['event'].rpartition('.')[2]}{f' ({cause})' if cause else ''}; the run's log says more."


def _events(client: SyncPrefectClient, wanted: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """The newest events of a kind, newest first."""
    return list(client.request("POST", "/events/filter", json={"filter": wanted | {"order": "DESC"}, "limit": limit}).json()["events"])
