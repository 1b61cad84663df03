"""The platform's manifests: they say what they said, every schema takes them, and every pod asks for no more than it needs. No cluster is needed.

After a change that is meant: `python tests/kubernetes/test_overlays.py` writes the snapshots again; the diff is what a review looks at.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bentos.runtime.digest import digest_of
from deployments.kubernetes import images
from deployments.local.programs import SERVER, WORKER_FACTS

Manifest = dict[str, Any]

OVERLAYS = ("local", "production")
SNAPSHOTS = Path(__file__).parent / "snapshots"
VERSION = "1.34"  # Kubernetes, as on the test cluster
TOKENS = {"worker"}  # the only pod of the platform that talks to the Kubernetes API

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; Debian's package is kubernetes-client")


def render(overlay: str) -> str:
    folder = images.ROOT / "deployments" / "kubernetes" / "overlays" / overlay
    return subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def manifests(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(render(overlay)))


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for found in manifests:
        if "template" in found.get("spec", {}):
            yield found["metadata"]["name"], found["spec"]["template"]["spec"]


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, pod in pods(manifests):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", container


def named(manifests: list[Manifest], kind: str, name: str, namespace: str = "ratchet") -> Manifest:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"], m["metadata"].get("namespace", namespace)) == (kind, name, namespace)]
    return found


def test_the_render_is_the_one_that_was_reviewed(overlay: str) -> None:
    assert render(overlay) == (SNAPSHOTS / f"{overlay}.yaml").read_text(), f"if it is meant: python {Path(__file__).name}"


def test_every_manifest_fits_the_schema_of_its_kind(manifests: list[Manifest]) -> None:
    for found in manifests:
        kubernetes_validate.validate(found, VERSION, strict=True)


def test_both_namespaces_enforce_restricted_pods(manifests: list[Manifest]) -> None:
    namespaces = {m["metadata"]["name"]: m["metadata"]["labels"] for m in manifests if m["kind"] == "Namespace"}
    assert namespaces.keys() == {"ratchet", "ratchet-serving"}
    for labels in namespaces.values():
        assert [labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")] == ["restricted"] * 3


def test_every_pod_runs_as_one_who_may_nothing(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        context = pod["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, 1000, 1000), name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")), name
        assert all(volume.keys() & {"emptyDir", "persistentVolumeClaim"} for volume in pod["volumes"]), name
    for name, container in containers(manifests):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name


def test_every_container_says_what_it_needs_and_is_probed(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        for amounts in (container["resources"]["requests"], container["resources"]["limits"]):
            assert amounts.keys() == {"cpu", "memory"}, name
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name


def test_only_the_worker_holds_a_token_of_the_kubernetes_api(manifests: list[Manifest]) -> None:
    assert {name for name, pod in pods(manifests) if pod["automountServiceAccountToken"]} == TOKENS
    assert not any(m["automountServiceAccountToken"] for m in manifests if m["kind"] == "ServiceAccount")


def test_no_secret_stands_in_a_manifest_where_a_pod_could_name_it_instead(overlay: str, manifests: list[Manifest]) -> None:
    telling = ("PASSWORD", "AUTH_STRING", "SECRET_KEY", "ACCESS_KEY", "CONNECTION_URL", "LEDGER_URL", "_KEY")
    for name, container in containers(manifests):
        for variable in container.get("env", []):
            secret = variable["name"].endswith(telling) and not variable["name"].endswith("_SECRET_KEY")
            assert not secret or "secretKeyRef" in variable["valueFrom"], f"{name}: {variable['name']}"
    settings = [key for m in manifests if m["kind"] == "ConfigMap" for key in m["data"]]
    assert not [key for key in settings if key.endswith(telling)]
    assert ("Secret" in {m["kind"] for m in manifests}) == (overlay == "local"), "production brings its own"


def test_the_server_and_the_worker_run_on_the_same_facts_as_on_one_machine(manifests: list[Manifest]) -> None:
    for name, facts in (("prefect", SERVER), ("worker", WORKER_FACTS)):
        (container,) = named(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        told = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert told.items() >= facts.items()


def test_a_flow_run_may_nothing_a_release_only_serve_and_nobody_reads_secrets(manifests: list[Manifest]) -> None:
    roles = {m["metadata"]["namespace"]: m for m in manifests if m["kind"] == "Role"}
    bound = {(m["metadata"]["namespace"], s["name"]) for m in manifests if m["kind"] == "RoleBinding" for s in m["subjects"]}
    assert bound == {("ratchet", "worker"), ("ratchet-serving", "releaser")}
    assert not [m for m in manifests if m["kind"].startswith("ClusterRole")]
    for role in roles.values():
        for rule in role["rules"]:
            assert not {"*", "secrets", "pods/exec", "serviceaccounts/token"} & {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}


def test_nothing_talks_unless_a_policy_says_so(manifests: list[Manifest]) -> None:
    for namespace in ("ratchet", "ratchet-serving"):
        policy = named(manifests, "NetworkPolicy", "nothing-else", namespace)["spec"]
        assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_flow_run_of_any_name_is_never_taken_for_a_part_of_the_platform(manifests: list[Manifest]) -> None:
    for found in manifests:
        if found["kind"] == "Service":
            assert found["spec"]["selector"]["app.kubernetes.io/component"] == "platform"
        if found["kind"] == "NetworkPolicy" and "app.kubernetes.io/name" in str(found["spec"]["podSelector"]):
            assert found["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "platform"


def test_every_node_can_be_drained(manifests: list[Manifest]) -> None:
    replicas = {m["metadata"]["name"]: m["spec"]["replicas"] for m in manifests if m["kind"] in {"Deployment", "StatefulSet"}}
    for budget in (m for m in manifests if m["kind"] == "PodDisruptionBudget"):
        labels = budget["spec"]["selector"]["matchLabels"]
        assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
        assert replicas[labels["app.kubernetes.io/name"]] > 1


def test_the_local_overlay_asks_no_registry(overlay: str, manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        assert container["imagePullPolicy"] == "IfNotPresent", name
        assert overlay != "local" or container["image"].startswith("local/ratchet-"), name


def test_an_images_tag_names_what_it_is_built_from(tmp_path: Path) -> None:
    images.stage("flow", tmp_path / "one")
    staged = {path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*") if path.is_file()}

    assert {"Dockerfile", "uv.lock", "app/uv.lock", "app/flows/train.py", "app/bentos/runtime/host.py"} <= staged
    assert not [name for name in staged if name.endswith(".pyc") or "/tests/" in name or "/overlays/" in name]
    images.stage("flow", tmp_path / "two")
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")


def test_the_serving_image_holds_no_model_and_nothing_of_the_engine(tmp_path: Path) -> None:
    images.stage("serving", tmp_path / "one")
    assert {path.name for path in (tmp_path / "one" / "app").iterdir()} == {"bentos"}
    assert {path.name for path in (tmp_path / "one" / "app" / "bentos").iterdir()} == {"__init__.py", "runtime"}


if __name__ == "__main__":
    for each in OVERLAYS:
        (SNAPSHOTS / f"{each}.yaml").write_text(render(each))
