"""The Kubernetes objects of one served model, rendered from its release, its spec and the settings. Pure: plain dictionaries, as YAML would have them.

The order is the order in which they are applied: the Deployment comes last, so that what it needs is there, and nothing moves before the rest was taken.
"""

import json
import math

from bentos.runtime.release import Release
from tasks.release.pod import PORT, Manifest, config_map_name, dashed, pod
from tasks.settings import Settings
from tasks.spec import ModelSpec

PLACING_SECONDS = 60  # for scheduling, the image and the bento, before the server starts
BUSY_PERCENT = 70  # of the requested CPU; more pods come above it
RELEASE, PREVIOUS = "ratchet/release", "ratchet/previous"  # annotations of the Deployment: a release object each
MODEL_LABEL, RELEASE_LABEL = "ratchet/model", "ratchet/release"


def labels(model: str) -> dict[str, str]:
    """What every object of a served model carries."""
    return {
        "app.kubernetes.io/part-of": "ratchet",
        "app.kubernetes.io/name": dashed(model),
        "app.kubernetes.io/managed-by": "ratchet",
        MODEL_LABEL: model,
    }


def render(release: Release, spec: ModelSpec, settings: Settings) -> list[Manifest]:
    """Every object of a served model."""
    objects = [_network_policy(spec, settings), _service(spec, settings), _budget(spec)]
    if scaled(spec):
        objects.append(_autoscaler(spec))
    made = deployment(release, spec, settings)
    return [placed(each, spec.name, settings) for each in (*objects, config_map(release, made), made)]


def scaled(spec: ModelSpec) -> bool:
    """True when an autoscaler, and not the release, says how many pods there are."""
    return spec.serving.max_replicas > spec.serving.replicas


def placed(manifest: Manifest, model: str, settings: Settings) -> Manifest:
    """The object in the endpoints' namespace, with the labels of its model."""
    metadata = manifest["metadata"]
    return manifest | {"metadata": metadata | {"namespace": settings.serving_namespace, "labels": labels(model) | metadata.get("labels", {})}}


def config_map(release: Release, deployment: Manifest) -> Manifest:
    """The release object that the pods mount, and the Deployment as it was rendered: what is undone comes back as it was, whatever spec and settings say by then."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(release.id)},
        "immutable": True,
        "data": {"release.json": release.model_dump_json(), "deployment.json": json.dumps(deployment, sort_keys=True)},
    }


def deployment(release: Release, spec: ModelSpec, settings: Settings) -> Manifest:
    """The Deployment of a release; without a number of replicas when an autoscaler has the say."""
    match = {"app.kubernetes.io/name": dashed(spec.name)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": dashed(spec.name), "annotations": {RELEASE: release.model_dump_json()}},
        "spec": ({} if scaled(spec) else {"replicas": spec.serving.replicas})
        | {
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": math.ceil(settings.ready_seconds) + 2 * PLACING_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}},
            "selector": {"matchLabels": match},
            "template": {
                "metadata": {
                    "labels": labels(spec.name) | {RELEASE_LABEL: release.id},
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics"},
                },
                "spec": pod(release, spec, settings),
            },
        },
    }


def _service(spec: ModelSpec, settings: Settings) -> Manifest:
    port: Manifest = {"name": "http", "port": PORT, "targetPort": "http"}
    outside = settings.endpoint_node_port and spec.serving.slot is not None
    if outside:
        port["nodePort"] = settings.endpoint_node_port + (spec.serving.slot or 0)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": dashed(spec.name)},
        "spec": {"type": "NodePort" if outside else "ClusterIP", "selector": {"app.kubernetes.io/name": dashed(spec.name)}, "ports": [port]},
    }


def _budget(spec: ModelSpec) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": dashed(spec.name)},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",  # what does not answer anyway may not hold up the draining of a node
            "selector": {"matchLabels": {"app.kubernetes.io/name": dashed(spec.name)}},
        },
    }


def _autoscaler(spec: ModelSpec) -> Manifest:
    busy = {"name": "cpu", "container": "server", "target": {"type": "Utilization", "averageUtilization": BUSY_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": dashed(spec.name)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": dashed(spec.name)},
            "minReplicas": spec.serving.replicas,
            "maxReplicas": spec.serving.max_replicas,
            "metrics": [{"type": "ContainerResource", "containerResource": busy}],
        },
    }


def _network_policy(spec: ModelSpec, settings: Settings) -> Manifest:
    """Anybody may call the endpoint. It may ask names and the store, but neither Prefect nor the ledger."""
    platform = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.namespace}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": dashed(spec.name)},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": dashed(spec.name)}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": PORT}]}],
            "egress": [
                {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                {"ports": [{"protocol": "TCP", "port": 443}]},
                {"to": [platform | {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "s3"}}}]},
            ],
        },
    }
