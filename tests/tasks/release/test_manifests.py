"""What is rendered for one model: valid objects, within the restricted pod security, with budgets that fit into each other."""

import json
from pathlib import Path
from typing import Any

import hosting
import kubernetes_validate
import pytest
import yaml

from bentos.runtime.release import Release
from tasks.release.manifests import deployment, render
from tasks.release.pod import FINISH_SECONDS, FLUSH_SECONDS, PRE_STOP_SECONDS, grace_seconds
from tasks.settings import Settings
from tasks.spec import ModelSpec, Serving

SNAPSHOT = Path(__file__).parent / "snapshots" / "toy.yaml"
RELEASE = Release(
    id="toy-r7", model="toy", version="20130601-ab12cd34", bento=f"sha256:{'b' * 64}.tar", artefact=f"sha256:{'a' * 64}.tar", lock=f"sha256:{'c' * 64}"
)


def settings(**changed: object) -> Settings:
    told = {"serving_image": "registry.example/ratchet-serving@sha256:1", "log_url": "s3://ratchet/log", "endpoint_node_port": 30300}
    return Settings(**{**told, **changed})  # type: ignore[arg-type]


def spec(**serving: object) -> ModelSpec:
    return hosting.spec().model_copy(update={"name": "toy", "serving": Serving(**{"slot": 1, **serving})})  # type: ignore[arg-type]


def rendered(kind: str, spec: ModelSpec, settings: Settings) -> dict[str, Any]:
    return next(each for each in render(RELEASE, spec, settings) if each["kind"] == kind)


def pod_of(settings: Settings) -> dict[str, Any]:
    pod: dict[str, Any] = rendered("Deployment", spec(), settings)["spec"]["template"]["spec"]
    return pod


def test_the_render_is_the_reviewed_one() -> None:
    """After a change that is meant: run with the file removed, and look at the difference."""
    objects = render(RELEASE, spec(), settings())
    next(each for each in objects if each["kind"] == "ConfigMap")["data"]["deployment.json"] = "(the Deployment below)"
    found = yaml.safe_dump_all(objects, sort_keys=False, width=150)
    if not SNAPSHOT.exists():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(found)
    assert found == SNAPSHOT.read_text()


@pytest.mark.parametrize("serving", [{}, {"replicas": 3, "max_replicas": 3}, {"slot": None}, {"replicas": 1, "max_replicas": 1}])
def test_every_object_fits_the_newest_schema(serving: dict[str, object]) -> None:
    for manifest in render(RELEASE, spec(**serving), settings()):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_deployment_comes_last_and_everything_lies_in_the_endpoints_namespace_with_its_models_labels() -> None:
    objects = render(RELEASE, spec(), settings(serving_namespace="elsewhere"))

    assert objects[-1]["kind"] == "Deployment"
    for each in objects:
        assert each["metadata"]["namespace"] == "elsewhere"
        assert each["metadata"]["labels"]["ratchet/model"] == "toy"


def test_names_have_no_underscore() -> None:
    model = spec().model_copy(update={"name": "flights_late"})
    release = RELEASE.model_copy(update={"model": "flights_late", "id": "flights_late-r1"})

    names = {(each["kind"], each["metadata"]["name"]) for each in render(release, model, settings())}

    assert ("Deployment", "flights-late") in names
    assert ("ConfigMap", "flights-late-r1") in names


def test_an_autoscaler_has_the_say_over_the_number_of_pods_where_the_spec_leaves_a_range() -> None:
    assert "replicas" not in rendered("Deployment", spec(), settings())["spec"]
    assert rendered("HorizontalPodAutoscaler", spec(), settings())["spec"]["minReplicas"] == 2

    fixed = spec(replicas=3, max_replicas=3)
    assert rendered("Deployment", fixed, settings())["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in [each["kind"] for each in render(RELEASE, fixed, settings())]


@pytest.mark.parametrize(("slot", "node_port", "expected"), [(1, 30300, 30301), (None, 30300, None), (1, 0, None)])
def test_an_endpoint_has_a_node_port_when_the_settings_and_its_slot_say_so(slot: int | None, node_port: int, expected: int | None) -> None:
    service = rendered("Service", spec(slot=slot), settings(endpoint_node_port=node_port))["spec"]

    assert service["ports"][0].get("nodePort") == expected
    assert service["type"] == ("NodePort" if expected else "ClusterIP")


@pytest.mark.parametrize("log_bytes", [1 << 20, 256 << 20, 8 << 30])
def test_a_full_log_is_told_with_503_before_the_pod_is_evicted(log_bytes: int) -> None:
    pod = pod_of(settings(log_bytes=log_bytes))

    (limit,) = (int(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"] if volume["name"] == "log")
    (budget,) = (int(each["value"]) for each in pod["containers"][0]["env"] if each["name"] == "RATCHET_LOG_BYTES")
    assert 2 * budget < limit, "predictions and feedback each have the budget"


@pytest.mark.parametrize("drain_seconds", [0.1, 8, 120.5])
def test_a_pod_has_time_to_be_forgotten_to_drain_to_finish_and_to_ship(drain_seconds: float) -> None:
    grace = grace_seconds(settings(drain_seconds=drain_seconds))

    assert pod_of(settings(drain_seconds=drain_seconds))["terminationGracePeriodSeconds"] == grace
    assert grace >= PRE_STOP_SECONDS + drain_seconds + FINISH_SECONDS + FLUSH_SECONDS


@pytest.mark.parametrize("ready_seconds", [5, 60, 600])
def test_the_cluster_gives_up_on_a_start_no_sooner_than_the_settings(ready_seconds: int) -> None:
    made = deployment(RELEASE, spec(), settings(ready_seconds=ready_seconds))
    probe = made["spec"]["template"]["spec"]["containers"][0]["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] == ready_seconds
    assert made["spec"]["progressDeadlineSeconds"] > ready_seconds


def test_every_container_is_as_restricted_as_a_pod_can_be() -> None:
    pod = pod_of(settings())

    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert set(container["resources"]["requests"]) == {"cpu", "memory"} and container["resources"]["limits"]["memory"]
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert not any("KEY" in each["name"] for each in container.get("env", []))


def test_without_a_place_to_ship_to_there_is_no_shipper() -> None:
    assert [each["name"] for each in pod_of(settings(log_url=""))["initContainers"]] == ["fetch"]
    assert [each["name"] for each in pod_of(settings())["initContainers"]] == ["fetch", "ship"]


def test_the_config_map_holds_the_release_that_pods_mount_and_the_deployment_as_it_was_rendered() -> None:
    data = rendered("ConfigMap", spec(), settings())["data"]

    assert Release.model_validate_json(data["release.json"]) == RELEASE
    assert json.loads(data["deployment.json"]) == deployment(RELEASE, spec(), settings())
