"""How a model stands on a cluster, read from its Deployment and pods. Pure."""

from datetime import datetime
from typing import Any

from bentos.runtime.release import Release
from tasks.release.manifests import MODEL_LABEL, PREVIOUS, RELEASE, RELEASE_LABEL
from tasks.release.pod import PORT, Manifest
from tasks.release.rollout import completed
from tasks.release.target import Pods, ServingStatus


def release_in(deployment: Manifest | None, annotation: str) -> Release | None:
    """The release object that a Deployment carries under an annotation."""
    text = (deployment or {}).get("metadata", {}).get("annotations", {}).get(annotation)
    return Release.model_validate_json(text) if text else None


def status_of(deployment: Manifest, pods: list[Manifest]) -> ServingStatus:
    """How a model is served: by the release that took over last, and while another is tried, by the one before."""
    asked, finished = release_in(deployment, RELEASE), completed(deployment)
    answers = asked if finished else release_in(deployment, PREVIOUS)
    conditions: dict[str, dict[str, Any]] = {each["type"]: each for each in deployment.get("status", {}).get("conditions", ())}
    available, moved = conditions.get("Available", {}), conditions.get("Available" if finished else "Progressing", {})
    up = bool(deployment.get("status", {}).get("availableReplicas"))
    mine = [pod for pod in pods if answers and pod["metadata"]["labels"].get(RELEASE_LABEL) == answers.id]
    return ServingStatus(
        model=deployment["metadata"]["labels"][MODEL_LABEL],
        version=answers.version if answers else "",
        release=answers.id if answers else "",
        state="live" if up and answers else "down" if finished else "starting",
        port=PORT,
        restarts=sum(each.get("restartCount", 0) for pod in mine for each in pod.get("status", {}).get("containerStatuses", ())),
        since=datetime.fromisoformat(moved.get("lastTransitionTime") or deployment["metadata"]["creationTimestamp"]),
        error="" if up else available.get("message", ""),
        tried=asked.id if asked else "",
        pods=_pods(deployment),
    )


def _pods(deployment: Manifest) -> Pods:
    container = next(each for each in deployment["spec"]["template"]["spec"]["containers"] if each["name"] == "server")
    told = {each["name"]: each.get("value", "") for each in container.get("env", ())}
    return Pods(
        ready=deployment.get("status", {}).get("readyReplicas", 0),
        wanted=deployment["spec"].get("replicas", 1),
        **container["resources"]["requests"],
        omp_threads=told.get("OMP_NUM_THREADS", ""),
    )
