"""monitor: closed windows of live traffic are judged; drift and decay become proposals, and the engine decides."""

from typing import Any

from prefect import State, flow

from tasks.data.steps import served_rows_validator
from tasks.governance.steps import hand_over, publish_status, record_findings
from tasks.monitoring.steps import judge_windows, report_windows, rows_of


@flow(flow_run_name="monitor-{model}")
def monitor(model: str) -> State[Any]:
    """Judge every window of live traffic that has closed since the last time.

    Args:
        model: Name of the model's folder in bentos.
    """
    judged = judge_windows(model, served_rows_validator(model))
    record_findings(model, rows_of(judged))
    hand_over(model)
    if judged:
        publish_status()
    return report_windows(model, judged)
