"""train: a snapshot becomes one version, held against the champion on rows that neither has seen."""

from typing import Any

from prefect import State, flow
from prefect.states import Completed

from tasks.data.steps import frames_on, take_snapshot
from tasks.governance.steps import close_failed, hand_over, register, take_order
from tasks.ledger.rows import Trigger
from tasks.monitoring.steps import calibrate_drift
from tasks.order import Drill, TrainingSettings
from tasks.release.steps import package
from tasks.training.steps import fit, judge, plan_training, report_version, search, version_row

AS_SPECIFIED = TrainingSettings()


@flow(flow_run_name="train-{model}", on_failure=[close_failed])
def train(
    model: str, settings: TrainingSettings = AS_SPECIFIED, drill: Drill = "none", trigger: Trigger = "on_demand", decision: str = "", attempt: int = 0
) -> State[Any]:
    """Train a challenger and let the gate decide.

    Args:
        model: Name of the model's folder in bentos.
        settings: What may differ from the model's spec this time.
        drill: A fire drill. shuffled_labels spoils the training labels to show that the gate refuses.
        trigger: Why. Leave as it is when you start it yourself.
        decision: Decision that this training belongs to. Leave empty when you start it yourself.
        attempt: Number of the attempt at that decision. Leave 0 when you start it yourself.
    """
    order = take_order(model, trigger, decision, attempt, settings, drill)
    if order.refused:
        return Completed(message=f"Nothing was trained: {order.refused}.")
    snapshot = take_snapshot(model)
    job = plan_training(order, snapshot.ref, frames_on(snapshot))
    found = search(job)
    fitted = fit(job, found)
    gate = judge(job, fitted)
    thresholds = calibrate_drift(model, fitted.reference)
    bento = package(model, fitted.version, fitted.artefact) if gate.accepted else None
    version = register(version_row(order, job, found, fitted, gate, thresholds, bento))
    hand_over(model)
    return report_version(version, found)
