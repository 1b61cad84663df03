"""The base job template of the work pool on Kubernetes: what the Job of every flow run looks like.

Prefect's own template, so that its variables keep working, with what a restricted namespace and a read-only image ask for.
"""

from typing import Any

from deployments.kubernetes.jobs import CONFIG, CPU, DEADLINE_SECONDS, FLOW_RUN, MEMORY
from tasks.settings import Settings

HEARTBEAT_SECONDS = 30  # Prefect's least: a run whose node is lost is found after three
KEPT_SECONDS = 600  # a finished Job; its log is in Prefect
SCRATCH = "4Gi"

ENVIRONMENT: dict[str, str | None] = {
    "PREFECT_HOME": "/tmp/prefect",  # noqa: S108  # the pod's own empty folder, the only one it may write
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    # A pod that must go ends its run as crashed, and who pursues the decision starts the next attempt. Prefect's default here, to start the
    # same run from the top, would roll a rollback back, send a replay twice, and start again for ever what ran into its deadline.
    "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "crash",
    "PREFECT_API_AUTH_STRING": None,  # the worker's own, as plain text; the container has it from the secret
}
AUTH = {"name": "PREFECT_API_AUTH_STRING", "valueFrom": {"secretKeyRef": {"name": "ratchet-prefect", "key": "auth-string"}}}
VARIABLES: dict[str, dict[str, Any]] = {
    "deadline_seconds": {"type": "integer", "title": "Deadline", "default": DEADLINE_SECONDS, "description": "Seconds after which the pod is ended."},
    "env_from": {
        "type": "array",
        "title": "Environment From",
        "default": list(CONFIG),
        "description": "ConfigMaps and Secrets whose keys become its environment.",
    },
    "mount_token": {"type": "boolean", "title": "Mount Token", "default": False, "description": "Whether it may talk to the API server as its account."},
}


def job_template(settings: Settings) -> dict[str, Any]:
    """The template as Prefect stores it with the work pool."""
    from prefect_kubernetes.worker import KubernetesWorker  # type: ignore[import-untyped]  # it ships no types

    template = KubernetesWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    defaults = {
        "command": "python -m prefect.engine",  # as on one machine: the process that gets the signal is the one that runs the flow
        "namespace": settings.namespace,
        "image": settings.flow_image,
        "service_account_name": FLOW_RUN,
        "env": ENVIRONMENT,
        "labels": {"app.kubernetes.io/part-of": "ratchet", "app.kubernetes.io/component": "flow-run"},
        "finished_job_ttl": KEPT_SECONDS,
        "cpu_request": CPU,
        "memory_request": MEMORY,
        "memory_limit": MEMORY,
    }
    for name, value in defaults.items():
        variables[name]["default"] = value
    variables |= VARIABLES
    _restrict(template["job_configuration"]["job_manifest"]["spec"])
    return dict(template)


def _restrict(job: dict[str, Any]) -> None:
    """What the namespace enforces, and what the image needs because nothing in it can be written."""
    job["activeDeadlineSeconds"] = "{{ deadline_seconds }}"
    pod = job["template"]["spec"]
    pod |= {
        "automountServiceAccountToken": "{{ mount_token }}",
        "enableServiceLinks": False,  # a Service named `prefect` would give the pod PREFECT_ variables of another kind
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH}}],
    }
    [container] = pod["containers"]
    container |= {
        "env": [AUTH, {"name": "HOME", "value": "/tmp"}],  # noqa: S108  # what the worker tells comes on top of it
        "envFrom": "{{ env_from }}",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # as above
    }
