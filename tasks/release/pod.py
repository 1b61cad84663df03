"""The pod that serves a model on Kubernetes: an init container fetches the bento, then the log's shipper and the server run beside each other. Pure."""

import math
from typing import Any

from bentos.runtime.release import Release
from tasks.release.generation import FINISH_SECONDS
from tasks.settings import Settings
from tasks.spec import ModelSpec

Manifest = dict[str, Any]

PORT = 3000
PRE_STOP_SECONDS = 10  # kube-proxies forget a pod within some tenths of a second, busy ones later; until they do, it goes on accepting
FLUSH_SECONDS = 15  # for the log's last segments, after the server has ended
LOG_SLACK_BYTES = 64 << 20  # beyond both log folders' budgets, so that the server answers 503 before the pod is evicted
USER = 1000


def dashed(name: str) -> str:
    """A name as Kubernetes takes it."""
    return name.replace("_", "-")


def config_map_name(release_id: str) -> str:
    """Name of the ConfigMap of a release; its id begins with the model's name."""
    return dashed(release_id)


def grace_seconds(settings: Settings) -> int:
    """How long a pod has to leave: until callers are sent elsewhere, until they are gone, until the log is in the store."""
    return math.ceil(PRE_STOP_SECONDS + settings.drain_seconds + FINISH_SECONDS + FLUSH_SECONDS)


def pod(release: Release, spec: ModelSpec, settings: Settings) -> Manifest:
    """The pod's spec."""
    return {
        "serviceAccountName": "endpoint",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(settings),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": dashed(spec.name)}},
            }
        ],
        "initContainers": [_fetch(settings), *([_ship(settings)] if settings.log_url else [])],  # without a place to ship to, the log ends with its pod
        "containers": [_server(release, spec, settings)],
        "volumes": [
            {"name": "release", "configMap": {"name": config_map_name(release.id), "items": [{"key": "release.json", "path": "release.json"}]}},
            {"name": "bento", "emptyDir": {"sizeLimit": "4Gi"}},
            {"name": "log", "emptyDir": {"sizeLimit": str(2 * settings.log_bytes + LOG_SLACK_BYTES)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }


def _server(release: Release, spec: ModelSpec, settings: Settings) -> Manifest:
    told = {
        "RATCHET_RELEASE": release.id,
        "RATCHET_LOG": "/log",
        "RATCHET_LOG_BYTES": str(settings.log_bytes),
        "RATCHET_MAX_SKEW_SECONDS": f"{settings.max_skew_seconds:g}",
        "RATCHET_FSYNC": str(settings.fsync).lower(),
        "OMP_NUM_THREADS": "1",  # more cost 4 to 8 times the throughput when cores are shared
    }
    leave = ["--drain-seconds", f"{settings.drain_seconds:g}", "--finish-seconds", f"{FINISH_SECONDS:g}"]
    command = ["bentos.runtime.host", "--release", "/release/release.json", "--bento", "/bento/bento", "--bind", f"0.0.0.0:{PORT}", *leave]
    return _container("server", settings, command, spec.serving.cpu, spec.serving.memory, ["release", "bento", "log"]) | {
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": name, "value": value} for name, value in told.items()],
        "envFrom": [{"secretRef": {"name": "ratchet-keys"}}],
        "startupProbe": _probe("/readyz", period=1, failures=math.ceil(settings.ready_seconds)),
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "livenessProbe": _probe("/livez", period=10, failures=6),  # a busy server is no dead one
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
    }


def _fetch(settings: Settings) -> Manifest:
    command = ["bentos.runtime.fetch", "--release", "/release/release.json", "--to", "/bento"]
    return _container("fetch", settings, command, "100m", "512Mi", ["release", "bento"]) | {"envFrom": _store_access()}


def _ship(settings: Settings) -> Manifest:
    command = ["bentos.runtime.ship", "--folder", "/log", "--url", "$(RATCHET_LOG_URL)", "--pod", "$(POD_NAME)"]
    name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    return _container("ship", settings, command, "20m", "256Mi", ["log"]) | {"restartPolicy": "Always", "env": [name], "envFrom": _store_access()}


def _store_access() -> list[Manifest]:
    return [{"configMapRef": {"name": "ratchet-settings"}}, {"secretRef": {"name": "ratchet-store"}}]


def _container(name: str, settings: Settings, module: list[str], cpu: str, memory: str, volumes: list[str]) -> Manifest:
    """A container of the serving image. CPU has no limit: throttling costs more latency than a busy neighbour."""
    return {
        "name": name,
        "image": settings.serving_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", *module],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *({"name": volume, "mountPath": f"/{volume}", **({"readOnly": True} if _read_only(name, volume) else {})} for volume in volumes),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # the pod's own
        ],
    }


def _read_only(container: str, volume: str) -> bool:
    return volume == "release" or (container, volume) == ("server", "bento")


def _probe(path: str, period: int, failures: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "timeoutSeconds": 2, "failureThreshold": failures}
