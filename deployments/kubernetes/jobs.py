"""What the Job of each deployment differs in from the work pool's template: account, resources, deadline, secrets. Plain data."""

from typing import Any

from tasks.settings import Settings
from tasks.spec import ModelSpec

FLOW_RUN, RELEASER = "flow-run", "releaser"  # service accounts: the one may do nothing, the other changes the serving namespace
# reconcile too, because it restores a live release that a run which died has left half replaced.
RELEASES = frozenset({"release", "rollback", "reconcile"})
CONFIG = ({"configMapRef": {"name": "ratchet-settings"}}, {"secretRef": {"name": "ratchet-ledger"}}, {"secretRef": {"name": "ratchet-store"}})
KEYS = {"secretRef": {"name": "ratchet-keys"}}  # of the endpoints; only who sends them requests needs them
CPU, MEMORY = "100m", "1Gi"
DEADLINE_SECONDS = 3600


def job_variables(flow: str, settings: Settings, spec: ModelSpec | None = None) -> dict[str, Any]:
    """Job variables of a flow's deployment; none on one machine.

    Args:
        spec: Spec of the model that a training is for.
    """
    if settings.target == "local":
        return {}
    training = spec.training if spec and flow == "train" else None
    memory = training.memory if training else MEMORY
    return {
        "image": settings.flow_image,
        "service_account_name": RELEASER if flow in RELEASES else FLOW_RUN,
        "mount_token": flow in RELEASES,
        "cpu_request": training.cpu if training else CPU,
        "memory_request": memory,
        "memory_limit": memory,
        "deadline_seconds": training.deadline_seconds if training else DEADLINE_SECONDS,
        "env": {"RATCHET_FLOW_IMAGE": settings.flow_image, "RATCHET_SERVING_IMAGE": settings.serving_image},
    } | ({"env_from": [*CONFIG, KEYS]} if flow == "replay" else {})
