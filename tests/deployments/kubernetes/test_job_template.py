"""What the worker makes of our template: the Job of a flow run, rendered as the worker does it, without a cluster."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import kubernetes_validate
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from deployments.kubernetes.job_template import job_template
from deployments.kubernetes.jobs import job_variables
from tasks.project import Project
from tasks.settings import Settings

HERE = Path(__file__).parents[3]
FLOWS = ("ingest", "waive", "replay", "train", "release", "rollback", "monitor", "reconcile")
SETTINGS = Settings(target="kubernetes", project=HERE, work_pool="kubernetes", flow_image="local/flow:abc", serving_image="local/serving:def")


@pytest.fixture(autouse=True)
def worker() -> Iterator[None]:
    """Told what a worker is told: where Prefect is, and the key to it."""
    told = {PREFECT_API_URL: "http://prefect.ratchet.svc:4200/api", PREFECT_API_AUTH_STRING: "ratchet:hush", PREFECT_HOME: Path("/var/lib/worker")}
    with temporary_settings(told):
        yield


async def no_references(template: Any, client: object) -> Any:
    """Ours names no blocks or variables of Prefect, so no server is asked for them."""
    return template


def job(flow: str, monkeypatch: pytest.MonkeyPatch, **variables: Any) -> dict[str, Any]:
    import asyncio

    from prefect.workers import base

    for name in ("resolve_block_document_references", "resolve_variables"):
        monkeypatch.setattr(base, name, no_references)
    values = job_variables(flow, SETTINGS, Project(HERE).model("flights_late") if flow in {"train", "release", "rollback", "monitor"} else None) | variables
    template = json.loads(json.dumps(job_template(SETTINGS)))  # as it comes back from the server
    made = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(template, values))
    made.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="jolly-run"))
    return dict(made.job_manifest)


def pod(rendered: dict[str, Any]) -> dict[str, Any]:
    return dict(rendered["spec"]["template"]["spec"])


def container(rendered: dict[str, Any]) -> dict[str, Any]:
    [only] = pod(rendered)["containers"]
    return dict(only)


def env(rendered: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(rendered)["env"]}


@pytest.mark.parametrize("flow", FLOWS)
def test_every_job_is_a_valid_object_that_a_restricted_namespace_lets_in(flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = job(flow, monkeypatch)

    kubernetes_validate.validate(rendered, "1.34")
    assert pod(rendered)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(rendered)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container(rendered)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert pod(rendered)["volumes"][0]["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("flow", FLOWS)
def test_no_job_carries_a_secret_as_text(flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = job(flow, monkeypatch)

    assert "hush" not in json.dumps(rendered)
    assert env(rendered)["PREFECT_API_AUTH_STRING"] == {"secretKeyRef": {"name": "ratchet-prefect", "key": "auth-string"}}


def test_only_who_sends_requests_gets_the_keys_of_the_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    def secrets(flow: str) -> set[str]:
        return {source["secretRef"]["name"] for source in container(job(flow, monkeypatch))["envFrom"] if "secretRef" in source}

    assert {flow for flow in FLOWS if "ratchet-keys" in secrets(flow)} == {"replay"}
    assert all({"ratchet-ledger", "ratchet-store"} <= secrets(flow) for flow in FLOWS)


def test_only_who_changes_the_serving_namespace_may_and_has_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {flow: pod(job(flow, monkeypatch)) for flow in FLOWS}

    releasers = {flow for flow, found in jobs.items() if found["serviceAccountName"] == "releaser"}
    assert releasers == {flow for flow, found in jobs.items() if found["automountServiceAccountToken"]} == {"release", "rollback", "reconcile"}
    assert {found["serviceAccountName"] for flow, found in jobs.items() if flow not in releasers} == {"flow-run"}


def test_a_training_has_the_resources_and_the_deadline_of_its_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Project(HERE).model("flights_late").training
    rendered = job("train", monkeypatch)

    assert container(rendered)["resources"] == {"limits": {"memory": training.memory}, "requests": {"cpu": training.cpu, "memory": training.memory}}
    assert rendered["spec"]["activeDeadlineSeconds"] == training.deadline_seconds
    assert job("monitor", monkeypatch)["spec"]["activeDeadlineSeconds"] == 3600


def test_a_job_is_tried_once_ends_in_time_and_is_swept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job("ingest", monkeypatch)["spec"]

    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 600)
    assert container(job("ingest", monkeypatch))["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_run_knows_its_image_and_writes_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = job("release", monkeypatch)
    told = env(rendered)

    assert (container(rendered)["image"], container(rendered)["imagePullPolicy"]) == ("local/flow:abc", "IfNotPresent")
    assert (told["RATCHET_FLOW_IMAGE"], told["RATCHET_SERVING_IMAGE"]) == ("local/flow:abc", "local/serving:def")
    assert (told["PREFECT_HOME"], told["HOME"]) == ("/tmp/prefect", "/tmp"), "not the worker's own home"
    assert told["PREFECT_API_URL"] == "http://prefect.ratchet.svc:4200/api"


def test_a_pod_that_must_go_ends_its_run_instead_of_starting_it_again_from_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = job("rollback", monkeypatch)

    assert container(rendered)["args"] == ["python", "-m", "prefect.engine"]
    assert env(rendered)["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "crash"


def test_what_prefects_own_variables_set_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = job("ingest", monkeypatch, image="local/flow:next", finished_job_ttl=5, annotations={"team": "blue"})

    assert container(rendered)["image"] == "local/flow:next"
    assert rendered["spec"]["ttlSecondsAfterFinished"] == 5
    assert rendered["metadata"]["annotations"] == {"team": "blue"}
    assert rendered["metadata"]["labels"]["app.kubernetes.io/part-of"] == "ratchet"
    assert rendered["metadata"]["namespace"] == "ratchet"


def test_on_one_machine_a_deployment_has_no_job_variables() -> None:
    assert job_variables("train", Settings()) == {}
