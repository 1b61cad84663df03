"""Reads how a rollout stands out of what the Kubernetes API says: going on, done, or failed with its real cause and what to do. Pure.

A cause is certain when waiting cannot help: then the rollout has failed now. Any other is told when the time is over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.release.generation import RAISED, TOLD, WIDTH
from tasks.release.manifests import MODEL_LABEL

Object = dict[str, Any]

NO_IMAGE = {"ErrImageNeverPull", "InvalidImageName", "ImagePullBackOff"}  # the last: a second look after ErrImagePull, which may be a moment's
NOT_YET = {"ErrImagePull", "RegistryUnavailable", "ImageInspectError"}
NOT_CREATED = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
NOT_RUN = {"StartError", "ContainerCannotRun"}
DELIBERATE = {1, 3}  # exit codes with which our programs say that they will not start: another try would end the same
DEATHS = 2  # of any other kind, that make a crash loop
REVISION = "deployment.kubernetes.io/revision"
REFUSED = ("forbidden", "denied", "exceeded quota", "invalid")


@dataclass(frozen=True)
class Rollout:
    """How a rollout stands; while it goes on, `cause` is what it waits for."""

    state: Literal["progress", "done", "failed"]
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a pod from answering."""

    certain: bool
    cause: str
    remedy: str


def observed(deployment: Object) -> bool:
    """True when the cluster has taken note of what was applied last."""
    return bool(deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"])


def done(deployment: Object) -> bool:
    """True when every pod is of the newest revision and answers."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    return observed(deployment) and counts == {wanted}


def completed(deployment: Object) -> bool:
    """True when the newest revision has taken over once, whatever has become of its pods since."""
    return observed(deployment) and _condition(deployment, "Progressing").get("reason") == "NewReplicaSetAvailable"


def read(deployment: Object, replica_sets: Sequence[Object], pods: Sequence[Object], events: Sequence[Object]) -> Rollout:
    """How the newest revision of a Deployment stands.

    Args:
        replica_sets: Of the model, any revision.
        pods: Of the model, any revision.
        events: Of the namespace.
    """
    if not observed(deployment):
        return Rollout("progress", "the cluster has not taken note of it yet")
    if done(deployment):
        return Rollout("done")
    found = sorted(_troubles(deployment, replica_sets, pods, events), key=lambda trouble: not trouble.certain)
    if found and found[0].certain:
        return Rollout("failed", found[0].cause, found[0].remedy)
    progressing = _condition(deployment, "Progressing")
    first = found[0] if found else Trouble(False, progressing.get("message", "its pods are not ready"), "Look at the pods' events, then release it again.")
    return Rollout("failed" if progressing.get("reason") == "ProgressDeadlineExceeded" else "progress", first.cause, first.remedy)


def _troubles(deployment: Object, replica_sets: Sequence[Object], pods: Sequence[Object], events: Sequence[Object]) -> Iterator[Trouble]:
    revision = deployment["metadata"].get("annotations", {}).get(REVISION)
    newest = [each for each in replica_sets if each["metadata"].get("annotations", {}).get(REVISION) == revision]
    model = deployment["metadata"]["labels"][MODEL_LABEL]
    for replica_set in newest:
        if (refusal := _condition(replica_set, "ReplicaFailure")).get("status") == "True":
            message = refusal.get("message", "")
            yield Trouble(
                any(word in message for word in REFUSED), f"the cluster refuses its pods: {message}", "Mend what the message names, then release it again."
            )
    hashes = {each["metadata"]["labels"]["pod-template-hash"] for each in newest}
    for pod in pods:
        if pod["metadata"]["labels"].get("pod-template-hash") in hashes and "deletionTimestamp" not in pod["metadata"]:
            name = pod["metadata"]["name"]
            yield from _of_pod(pod, model, [each for each in events if each["involvedObject"].get("name") == name])


def _of_pod(pod: Object, model: str, events: Sequence[Object]) -> Iterator[Trouble]:
    status = pod.get("status", {})
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        remedy = f"Give the cluster more room, or ask for less under [serving] in bentos/{model}/model.toml."
        yield Trouble(False, f"no node can take its pod: {scheduled.get('message', scheduled.get('reason'))}", remedy)
    elif status.get("phase") == "Failed":
        yield Trouble(False, f"its pod was ended: {status.get('reason')}: {status.get('message', '')}", "Look at the node, then release it again.")
    limits = {each["name"]: each.get("resources", {}).get("limits", {}) for each in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])}
    probe = next((each["message"] for each in reversed(events) if each.get("reason") == "Unhealthy"), "")
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        yield from _of_container(container, model, limits[container["name"]].get("memory", "?"), probe)
    warnings = [each for each in events if each.get("type") == "Warning" and each.get("reason") in {"FailedMount", "FailedCreatePodSandBox"}]
    if warnings:
        yield Trouble(False, f"its pod cannot start: {warnings[-1]['message']}", "Mend what the message names, then release it again.")


def _of_container(container: Object, model: str, memory: str, probe: str) -> Iterator[Trouble]:
    name, deaths = container["name"], container.get("restartCount", 0)
    waiting = container.get("state", {}).get("waiting", {})
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in NO_IMAGE | NOT_YET:
        remedy = "Push or load that image, or set RATCHET_SERVING_IMAGE to one that the nodes can pull; then release it again."
        yield Trouble(reason in NO_IMAGE, f"image {container['image']!r} cannot be pulled ({reason}): {message}", remedy)
    elif reason in NOT_CREATED:
        certain = "not found" in message
        yield Trouble(certain, f"container {name!r} cannot be made ({reason}): {message}", "Make what the message names, then release it again.")
    elif ended.get("reason") == "OOMKilled":
        where = f"serving.memory in bentos/{model}/model.toml" if name == "server" else f"the limit of container {name!r}"
        yield Trouble(True, f"container {name!r} needs more memory than its limit of {memory} (OOMKilled)", f"Raise {where}, or release a smaller model.")
    elif name == "server" and deaths and probe and ended.get("exitCode") not in DELIBERATE:
        yield Trouble(True, f"its server ran and never got ready: {probe}", "Mend the service or raise RATCHET_READY_SECONDS, then release it again.")
    elif ended and ended.get("exitCode"):
        yield _death(name, ended, deaths + ("terminated" in container.get("state", {})))
    elif name == "server" and probe and not container.get("ready"):
        yield Trouble(False, f"its server runs and is not ready: {probe}", "Mend the service or raise RATCHET_READY_SECONDS, then release it again.")


def _death(name: str, ended: Object, deaths: int) -> Trouble:
    code, said = ended["exitCode"], last_words(ended.get("message", ""))
    certain = deaths >= DEATHS or ended.get("reason") in NOT_RUN or (code in DELIBERATE and (name, code) != ("fetch", 1))
    cause = f"container {name!r} ended with code {code}" + (f": {said}" if said else "")
    remedy = (
        "See that the store can be reached, then release it again."
        if name in {"fetch", "ship"} and code != max(DELIBERATE)
        else "Mend that, then release it again."
    )
    return Trouble(certain, cause.rstrip("."), remedy)


def last_words(output: str) -> str:
    """The exception at the end of a program's output, else its last lines."""
    lines = [line.strip()[:WIDTH] for line in output.splitlines() if line.strip()]
    raised = [line for line in lines if RAISED.match(line)]
    return raised[-1] if raised else " | ".join(lines[-TOLD:])


def _condition(thing: Object, kind: str) -> Object:
    return next((each for each in thing.get("status", {}).get("conditions", ()) if each["type"] == kind), {})
