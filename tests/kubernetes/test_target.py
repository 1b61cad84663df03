"""Releases on a real cluster: a rollover loses no request; what fails is told by its cause and undone, and the release before goes on answering."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import hosting
import httpx
import pytest
import yaml
from callers import Callers, predict
from cluster_up import Cluster, until

from bentos.runtime.digest import key
from bentos.runtime.release import Release
from tasks.errors import ReleaseError
from tasks.release.kubernetes import KubernetesTarget
from tasks.settings import Settings
from tasks.spec import Serving
from tasks.store import Store

pytestmark = pytest.mark.cluster
ACCOUNTS = Path(__file__).parents[2] / "deployments" / "kubernetes" / "base" / "accounts.yaml"
ADMIN: dict[str, str] = {}  # told by the fixture `admin`; the target itself gets the releaser's rights
NODE_PORT = 30390
SMALL = {"slot": 0, "cpu": "30m", "memory": "512Mi", "replicas": 2, "max_replicas": 2}
RESTRICTED: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "automountServiceAccountToken": False,
}


def kubectl(*words: str, given: str | None = None) -> str:
    return subprocess.run(["kubectl", "--kubeconfig", ADMIN["KUBECONFIG"], *words], capture_output=True, text=True, check=True, input=given, timeout=330).stdout


class StoreInCluster(Store):
    """A store that pods read over HTTP: its objects lie in ConfigMaps, and one pod serves them."""

    def __init__(self, namespace: str, folder: Path) -> None:
        super().__init__(f"file://{folder}")
        self.namespace, self.folder = namespace, folder

    def publish(self, bentos: list[Path]) -> None:
        """Make bentos readable in the cluster."""
        projected = []
        for bento in bentos:
            ref = self.put_tree(bento)
            content = base64.b64encode(self.get(ref)).decode()
            manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ref.digest[:16]}, "binaryData": {"tar": content}}
            kubectl("create", "-n", self.namespace, "-f", "-", given=json.dumps(manifest))
            projected.append({"configMap": {"name": ref.digest[:16], "items": [{"key": "tar", "path": key(str(ref))}]}})
        container = {
            "name": "store",
            "image": ADMIN["RATCHET_SERVING_IMAGE"],
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-m", "http.server", "8000", "--directory", "/store"],
            "volumeMounts": [{"name": "store", "mountPath": "/store"}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        pod = {"containers": [container], "volumes": [{"name": "store", "projected": {"sources": projected}}], "terminationGracePeriodSeconds": 0, **RESTRICTED}
        pod["serviceAccountName"] = "endpoint"  # which is there; the namespace's own account may be made later
        metadata = {"name": "store", "labels": {"app": "store"}}
        service = {"selector": {"app": "store"}, "ports": [{"port": 8000}]}
        objects = [
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        ]
        kubectl("create", "-n", self.namespace, "-f", "-", given=yaml.safe_dump_all(objects))
        kubectl("wait", "-n", self.namespace, "--for=condition=Ready", "pod/store", "--timeout=300s")


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> None:
    ADMIN.update(cluster.env)


@pytest.fixture(scope="module")
def namespace(admin: None) -> Iterator[str]:
    """A namespace of its own as the platform makes that of the endpoints: pod security restricted, the account, the settings, the secrets."""
    name = f"ratchet-test-{uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "endpoint", "namespace": name}, "automountServiceAccountToken": False},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ratchet-store", "namespace": name}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ratchet-keys", "namespace": name}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "ratchet-settings", "namespace": name},
            "data": {"RATCHET_STORE_URL": f"http://store.{name}.svc:8000"},
        },
    ]
    kubectl("create", "-f", "-", given=yaml.safe_dump_all(objects))
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module", autouse=True)
def releaser(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The target acts with the rights that the platform's manifests give to releases, and no others."""
    role = next(each for each in yaml.safe_load_all(ACCOUNTS.read_text()) if each["kind"] == "Role" and each["metadata"]["name"] == "releaser")
    subject = {"kind": "ServiceAccount", "name": "releaser", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "releaser"}
    metadata = {"name": "releaser", "namespace": namespace}
    objects = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        role | {"metadata": metadata},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": [subject]},
    ]
    kubectl("create", "-f", "-", given=yaml.safe_dump_all(objects))
    token = kubectl("create", "token", "releaser", "-n", namespace).strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("releaser") / "kubeconfig"
    path.write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(path))
        yield


@pytest.fixture(scope="module")
def never_ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bento that starts and never says that it is ready."""
    path = shutil.copytree(hosting.bento(1.0), tmp_path_factory.mktemp("bento") / "never-ready")
    endpoint = path / "src" / "bentos" / "runtime" / "endpoint.py"
    endpoint.write_text(endpoint.read_text().replace("self.ready = True", "self.ready = False"))
    return path


@pytest.fixture(scope="module")
def store(namespace: str, never_ready: Path, tmp_path_factory: pytest.TempPathFactory) -> StoreInCluster:
    store = StoreInCluster(namespace, tmp_path_factory.mktemp("store"))
    store.publish([hosting.bento(1.0), hosting.bento(2.0), hosting.bento(1.0, 2.0), never_ready])
    return store


class Place:
    """One namespace's target, made anew for each release as flow runs make it."""

    def __init__(self, namespace: str, store: Store) -> None:
        self.namespace, self.store, self.number = namespace, store, 0

    def target(self, serving: dict[str, Any] | None = None, **changed: Any) -> KubernetesTarget:
        told = {"serving_namespace": self.namespace, "serving_image": ADMIN["RATCHET_SERVING_IMAGE"], "endpoint_node_port": NODE_PORT}
        told |= {"drain_seconds": 1, "ready_seconds": 150, "log_url": ""}  # no log is shipped, so that no bucket is needed
        spec = hosting.spec().model_copy(update={"serving": Serving(**{**SMALL, **(serving or {})})})
        return KubernetesTarget(Settings(**{**told, **changed}), {"toy": spec})

    def next(self, bento: Path) -> Release:
        self.number += 1
        return hosting.release(bento, self.number)

    def serve(self, bento: Path, serving: dict[str, Any] | None = None, wait_seconds: float = 150, **changed: Any) -> Release:
        """Take a bento live."""
        target, release = self.target(serving, **changed), self.next(bento)
        target.apply(release, self.store)
        target.wait_ready(release, wait_seconds)
        return release

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl("get", "deployment", "toy", "-n", self.namespace, "-o", "json"))
        return found

    def releases(self) -> set[str]:
        """Releases that there are pods of, also such that are leaving."""
        found = json.loads(kubectl("get", "pods", "-l", "ratchet/model=toy", "-n", self.namespace, "-o", "json"))["items"]
        return {pod["metadata"]["labels"]["ratchet/release"] for pod in found}


@pytest.fixture(scope="module")
def place(namespace: str, store: StoreInCluster) -> Place:
    return Place(namespace, store)


@pytest.fixture
def live(place: Place) -> Release:
    """What answers before something goes wrong."""
    return settled(place.serve(hosting.bento(1.0)))


def answers(release: Release) -> bool:
    """Whether each of several callers is answered by it."""
    return {predict(NODE_PORT)["release"] for _ in range(10)} == {release.id}


def settled(release: Release) -> Release:
    """The release, once it alone answers: kube-proxy opens the port of a new Service, and turns from old pods, a moment after the rollout is done."""

    def alone() -> bool:
        try:
            return answers(release)
        except httpx.TransportError:
            return False

    until(alone, 60, f"release {release.id} to answer alone")
    return release


def refused_within(seconds: float) -> bool:
    """Whether nothing listens on the node port any more before the seconds are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{NODE_PORT}/livez", timeout=5)
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            pass  # one that drains: it may close a connection or answer no more
        time.sleep(0.5)
    return False


def test_a_first_release_that_fails_leaves_nothing(place: Place) -> None:
    with pytest.raises(ReleaseError, match="container 'server' ended with code 1: .*scores its golden rows otherwise.*There was none before it"):
        place.serve(hosting.bento(1.0, 2.0))

    assert place.target().status() == {}
    assert "toy" not in kubectl("get", "configmaps,services,pdb,networkpolicies", "-n", place.namespace, "-o", "name")


def test_a_release_goes_live_and_asking_again_changes_nothing(place: Place) -> None:
    release = settled(place.serve(hosting.bento(1.0)))
    status = place.target().status()["toy"]
    before = place.deployment()["metadata"]["resourceVersion"]

    place.target({"memory": "1Gi"}).apply(release, place.store)
    place.target().wait_ready(release, 60)

    assert answers(release)
    assert (status.release, status.version, status.state, status.tried) == (release.id, release.version, "live", release.id)
    assert place.deployment()["metadata"]["resourceVersion"] == before
    assert place.target().addresses() == {"toy": f"http://toy.{place.namespace}.svc:3000"}


def test_rollovers_under_load_lose_no_request_and_a_rollback_takes_seconds(place: Place, live: Release) -> None:
    with Callers(NODE_PORT) as callers:
        second = place.serve(hosting.bento(2.0))
        started = time.monotonic()
        third = place.serve(hosting.bento(1.0))
        seconds = time.monotonic() - started
        settled(third)
        until(lambda: place.releases() == {third.id}, 180, "the pods before it to be gone")

    assert callers.failed == []
    assert set(callers.answered) >= {live.id, second.id, third.id}, "for some tenths of a second also the one before"
    assert seconds < 150, "on two cores that eight callers keep busy; alone it takes a tenth of that"
    print(f"rollback in {seconds:.1f} s under load, {len(callers.answered)} requests, 0 failed")
    kept = kubectl("get", "configmaps", "-n", place.namespace, "-l", "ratchet/model=toy", "-o", "name").split()
    assert set(kept) == {f"configmap/{second.id}", f"configmap/{third.id}"}, "the live release's, and that of the one before"


@pytest.mark.parametrize(
    ("serving", "settings", "wait_seconds", "cause"),
    [
        ({}, {"serving_image": "local/no-such-image:1"}, 150, "image 'local/no-such-image:1' cannot be pulled"),
        ({"memory": "24Mi"}, {}, 150, "container 'server' needs more memory than its limit of 24Mi .*serving.memory in bentos/toy/model.toml"),
        ({"cpu": "900"}, {}, 1, "no node can take its pod: .*Insufficient cpu"),
        ({}, {"serving_image": "Not An Image"}, 150, "InvalidImageName"),
    ],
)
def test_what_keeps_a_release_from_going_live_is_named_and_undone(
    serving: dict[str, Any], settings: dict[str, Any], wait_seconds: float, cause: str, place: Place, live: Release
) -> None:
    with pytest.raises(ReleaseError, match=cause):
        place.serve(hosting.bento(2.0), serving, wait_seconds, **settings)

    status = place.target().status()["toy"]
    assert (status.release, status.tried, status.state) == (live.id, live.id, "live")
    assert answers(live)


def test_a_server_that_never_gets_ready_is_named_and_undone(place: Place, live: Release, never_ready: Path) -> None:
    with pytest.raises(ReleaseError, match="its server ran and never got ready: Startup probe failed: HTTP probe failed with statuscode: 503"):
        place.serve(never_ready, wait_seconds=330, ready_seconds=45)  # which a slow server needs to answer at all

    assert answers(live)


def test_bytes_that_the_store_does_not_hold_are_named_and_undone(place: Place, live: Release) -> None:
    missing = place.next(hosting.bento(1.0)).model_copy(update={"bento": f"sha256:{'0' * 64}.tar"})
    target = place.target()

    target.apply(missing, place.store)
    with pytest.raises(ReleaseError, match="container 'fetch' ended with code 3: The store .* does not hold sha256:000"):
        target.wait_ready(missing, 150)

    assert answers(live)


def test_a_release_whose_run_died_half_way_is_told_and_what_was_live_can_be_restored(place: Place, live: Release) -> None:
    place.target(serving_image="local/no-such-image:1").apply(place.next(hosting.bento(2.0)), place.store)

    status = place.target().status()["toy"]
    assert (status.release, status.tried) == (live.id, f"toy-r{place.number}")
    place.target({"memory": "24Mi"}).apply(live, place.store)
    place.target().wait_ready(live, 150)

    assert answers(live)
    assert place.target().status()["toy"].tried == live.id


def test_the_number_of_pods_that_an_autoscaler_has_chosen_outlives_a_release(place: Place) -> None:
    place.serve(hosting.bento(1.0), {"replicas": 1, "max_replicas": 3})
    assert place.deployment()["spec"]["replicas"] in (1, 2)
    kubectl("scale", "deployment", "toy", "--replicas=3", "-n", place.namespace)

    for number in (2.0, 1.0):
        place.serve(hosting.bento(number), {"replicas": 1, "max_replicas": 3})
        assert place.deployment()["spec"]["replicas"] == 3

    place.serve(hosting.bento(2.0))
    assert place.deployment()["spec"]["replicas"] == 2, "the spec leaves no range any more"


def test_a_model_that_is_removed_is_gone(place: Place, live: Release) -> None:
    place.target().remove("toy")
    place.target().remove("toy")

    assert place.target().status() == {}
    with pytest.raises(ReleaseError, match="removed meanwhile"):
        place.target().wait_ready(live, 60)
    assert refused_within(60), "its pods drain, and kube-proxy closes the port a moment after its Service is gone"
