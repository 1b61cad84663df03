"""reconcile: what was decided and never ended is started again; what died is closed or undone."""

from typing import Any

from prefect import State, flow

from tasks.governance.janitor import bury_dead_runs
from tasks.governance.steps import hand_over, model_names, propose_changes, publish_status
from tasks.monitoring.steps import keep_logs
from tasks.release.steps import restore_live_release


@flow(flow_run_name="reconcile")
def reconcile() -> State[Any]:
    """Look for what never ended and bring it to an end. Safe to run at any time, by hand as well.

    The logs come last and each for itself: one that is away fails the run, and keeps nothing else from being done.
    """
    bury_dead_runs()
    for model in model_names():
        restore_live_release(model)
        propose_changes(model)
        hand_over(model)
    publish_status()
    return keep_logs(model_names())
