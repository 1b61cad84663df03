"""What the API says of a rollout becomes one cause and one remedy, told as soon as waiting cannot help."""

from typing import Any

import pytest

from tasks.release.rollout import DEATHS, Rollout, completed, done, last_words, read

Object = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"


def deployment(updated: int = 0, available: int = 2, replicas: int = 4, generation: int = 2, seen: int = 2, reason: str = "ReplicaSetUpdated") -> Object:
    return {
        "metadata": {"generation": generation, "annotations": {REVISION: "2"}, "labels": {"ratchet/model": "toy"}},
        "spec": {"replicas": 2},
        "status": {
            "observedGeneration": seen,
            "replicas": replicas,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason, "message": "it progresses"}],
        },
    }


def replica_set(revision: int = 2, **condition: str) -> Object:
    metadata = {"annotations": {REVISION: str(revision)}, "labels": {"pod-template-hash": f"h{revision}"}}
    return {"metadata": metadata, "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", **condition}] if condition else []}}


def pod(server: Object | None = None, fetch: Object | None = None, ship: Object | None = None, revision: int = 2, **status: Any) -> Object:
    def shown(name: str, state: Object | None) -> list[Object]:
        return [{"name": name, "image": "registry/serving:1", "restartCount": 0, **state}] if state is not None else []

    limit = {"resources": {"limits": {"memory": "256Mi"}}}
    return {
        "metadata": {"name": f"toy-h{revision}-x", "labels": {"pod-template-hash": f"h{revision}"}},
        "spec": {"initContainers": [{"name": "fetch", **limit}, {"name": "ship", **limit}], "containers": [{"name": "server", **limit}]},
        "status": {
            "phase": "Pending",
            "initContainerStatuses": shown("fetch", fetch) + shown("ship", ship),
            "containerStatuses": shown("server", server),
            **status,
        },
    }


def event(reason: str, message: str, name: str = "toy-h2-x") -> Object:
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": {"name": name}}


def seen(*pods: Object, events: tuple[Object, ...] = (), sets: tuple[Object, ...] = (replica_set(),), **of: Any) -> Rollout:
    return read(deployment(**of), sets, pods, events)


def waiting(reason: str, message: str = "", **more: Any) -> Object:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


def died(code: int, reason: str = "Error", message: str = "", restarts: int = 1) -> Object:
    ended = {"exitCode": code, "reason": reason, "message": message}
    return {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}, "restartCount": restarts}


def test_it_is_done_when_every_pod_is_new_and_answers() -> None:
    assert seen(updated=2, available=2, replicas=2).state == "done"
    assert seen(updated=2, available=2, replicas=3).state == "progress", "an old one is left"
    assert seen(updated=2, available=1, replicas=2).state == "progress"
    assert seen(updated=2, available=2, replicas=2, generation=3).state == "progress", "the numbers are of what was applied before"
    assert not done({"metadata": {"generation": 1}, "spec": {"replicas": 1}})


def test_what_took_over_once_has_completed_whatever_its_pods_do_now() -> None:
    assert completed(deployment(updated=2, available=1, replicas=2, reason="NewReplicaSetAvailable"))
    assert not completed(deployment(reason="NewReplicaSetAvailable", generation=3))
    assert not completed(deployment())


@pytest.mark.parametrize(
    ("state", "expected", "cause"),
    [
        (waiting("ErrImagePull", "registry/serving:1: 503"), "progress", "image 'registry/serving:1' cannot be pulled (ErrImagePull): registry/serving:1: 503"),
        (waiting("ImagePullBackOff", "not found"), "failed", "image 'registry/serving:1' cannot be pulled (ImagePullBackOff): not found"),
        (waiting("ErrImageNeverPull"), "failed", "ErrImageNeverPull"),
        (waiting("InvalidImageName"), "failed", "InvalidImageName"),
        (waiting("CreateContainerConfigError", 'secret "ratchet-keys" not found'), "failed", 'secret "ratchet-keys" not found'),
        (waiting("CreateContainerConfigError", "timed out"), "progress", "timed out"),
        (died(137, "OOMKilled"), "failed", "container 'server' needs more memory than its limit of 256Mi (OOMKilled)"),
        (died(1, message="Traceback:\n  File\nValueError: golden rows\n"), "failed", "container 'server' ended with code 1: ValueError: golden rows"),
        (died(137), "progress", "container 'server' ended with code 137"),
        (died(137, restarts=DEATHS), "failed", "container 'server' ended with code 137"),
        (died(128, "StartError", "exec: python: not found"), "failed", "exec: python: not found"),
    ],
)
def test_the_cause_is_named_and_told_at_once_when_waiting_cannot_help(state: Object, expected: str, cause: str) -> None:
    found = seen(pod(server=state))

    assert (found.state, cause in found.cause) == (expected, True), found
    assert found.remedy.endswith(".")


def test_too_little_memory_names_the_specs_own_key() -> None:
    assert "serving.memory in bentos/toy/model.toml" in seen(pod(server=died(137, "OOMKilled"))).remedy
    assert "limit of container 'fetch'" in seen(pod(fetch=died(137, "OOMKilled"))).remedy


def test_wrong_bytes_end_it_at_once_and_a_store_that_is_away_gets_another_try() -> None:
    assert (
        seen(pod(fetch=died(3, message="The store does not hold sha256:0."))).cause == "container 'fetch' ended with code 3: The store does not hold sha256:0"
    )
    assert seen(pod(fetch=died(1, message="cannot be read"))).state == "progress"
    away = seen(pod(fetch=died(1, message="cannot be read", restarts=DEATHS)))
    assert away.state == "failed" and "store can be reached" in away.remedy


def test_a_server_that_was_restarted_because_it_never_got_ready_fails_by_its_probe() -> None:
    unhealthy = event("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503")
    running = {"state": {"running": {}}, "ready": False}

    assert seen(pod(server=running), events=(unhealthy,)).state == "progress", "its time to start is not over"
    restarted = {**running, "restartCount": 1, "lastState": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert seen(pod(server=restarted), events=(unhealthy,)) == Rollout(
        "failed",
        "its server ran and never got ready: Startup probe failed: HTTP probe failed with statuscode: 503",
        "Mend the service or raise RATCHET_READY_SECONDS, then release it again.",
    )
    assert seen(pod(server=running), events=(event("Unhealthy", "of another", "other"),)).cause == "it progresses"


def test_a_pod_that_fits_on_no_node_is_waited_for_until_the_time_is_over() -> None:
    full = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient cpu"}])

    assert seen(full) == Rollout("progress", "no node can take its pod: 0/3 nodes: Insufficient cpu", seen(full).remedy)
    assert seen(full, reason="ProgressDeadlineExceeded").state == "failed"
    assert "[serving] in bentos/toy/model.toml" in seen(full).remedy


def test_an_evicted_pod_and_a_volume_that_is_missing_are_told() -> None:
    assert "Evicted: the node was low on disk" in seen(pod(phase="Failed", reason="Evicted", message="the node was low on disk")).cause
    assert "configmap not found" in seen(pod(), events=(event("FailedMount", "configmap not found"),)).cause


def test_a_cluster_that_refuses_the_pods_is_told_in_its_own_words() -> None:
    refused = replica_set(reason="FailedCreate", message='pods "toy" is forbidden: violates PodSecurity "restricted:latest"')
    unwell = replica_set(reason="FailedCreate", message="failed calling webhook: connection refused")

    assert seen(sets=(refused,)).state == "failed" and "violates PodSecurity" in seen(sets=(refused,)).cause
    assert seen(sets=(unwell,)).state == "progress"


def test_pods_of_another_revision_and_those_that_leave_do_not_count() -> None:
    leaving = pod(server=died(1))
    leaving["metadata"]["deletionTimestamp"] = "2013-01-01T00:00:00Z"

    assert seen(pod(server=died(1), revision=1), leaving, sets=(replica_set(1), replica_set(2))).cause == "it progresses"


def test_what_is_certain_is_told_before_what_is_not() -> None:
    assert "InvalidImageName" in seen(pod(server=waiting("ErrImagePull")), pod(server=waiting("InvalidImageName"))).cause


def test_last_words_are_the_exception_or_the_last_lines() -> None:
    assert last_words("one\nTypeError: no\n  more\n") == "TypeError: no"
    assert last_words("\n".join("abcdef")) == "c | d | e | f"
    assert last_words("") == ""
