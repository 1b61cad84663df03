"""Runs that Prefect still calls running although nothing runs them any more."""

from datetime import UTC, datetime, timedelta

from prefect import get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

HEARTBEATS_MISSED = 3


@task(cache_policy=NO_CACHE)
def bury_dead_runs() -> list[str]:
    """Mark running runs as crashed that missed three heartbeats: their machine died, and no worker was left to say so.

    Prefect's own zombie automation is not used, because it also kills paused runs (Prefect issues 21932, 18653).
    """
    from prefect.settings import get_current_settings

    every = get_current_settings().flows.heartbeat_frequency or 180
    limit = datetime.now(UTC) - timedelta(seconds=HEARTBEATS_MISSED * every)
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING]))
    buried = []
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=states), limit=200):
            if _last_sign(client, run) < limit:
                client.set_flow_run_state(run.id, Crashed(message=f"No heartbeat since {limit:%H:%M:%S} UTC: the process that ran it is gone."), force=True)
                buried.append(run.name)
    if buried:
        get_run_logger().warning("called crashed, because their heartbeat stopped: %s", ", ".join(buried))
    return buried


def _last_sign(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """Time of a run's newest heartbeat, or of its last change of state when it has none yet."""
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "order": "DESC", "resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    found = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1}).json()["events"]
    if found:
        return datetime.fromisoformat(found[0]["occurred"])
    return run.state.timestamp if run.state else datetime.now(UTC)
