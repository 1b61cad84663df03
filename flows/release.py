"""release: a version is tried in a throw-away server, then takes over without a lost request, or is undone."""

from typing import Any

from prefect import State, flow

from tasks.governance.steps import publish_status
from tasks.release.steps import plan_release, report_release, roll_out, try_out


@flow(flow_run_name="release-{model}")
def release(model: str, version: str = "", decision: str = "", approver: str = "", reason: str = "") -> State[Any]:
    """Take a version live.

    Args:
        model: Name of the model's folder in bentos.
        version: A version's name; 'previous' rolls back; empty takes the newest one that the gate accepted.
        decision: Decision that this release belongs to. Leave empty when you start it yourself.
        approver: Your name, when you start it yourself.
        reason: Why, when you start it yourself.
    """
    plan = plan_release(model, version, decision, approver, reason)
    problem = try_out(plan)
    outcome = roll_out(plan, problem)
    publish_status()
    return report_release(plan, outcome)
