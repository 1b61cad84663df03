"""What the API server itself says of the platform: it takes the manifests, and refuses what nobody here may do."""

import json

import httpx
import pytest
from cluster_up import Cluster
from platform_up import ROOT

pytestmark = pytest.mark.cluster

BARE = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": {"containers": [{"name": "bare", "image": "local/ratchet-flow:local"}]}}


def may(cluster: Cluster, account: str, verb: str, resource: str, namespace: str) -> bool:
    words = ("auth", "can-i", verb, resource, "--namespace", namespace, "--as", f"system:serviceaccount:{account}")
    answer = cluster.kubectl(*words, check=False).stdout.strip()
    assert answer in {"yes", "no"}
    return answer == "yes"


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_the_api_server_takes_every_manifest(cluster: Cluster, overlay: str) -> None:
    folder = str(ROOT / "deployments" / "kubernetes" / "overlays" / overlay)
    done = cluster.kubectl("apply", "--kustomize", folder, "--server-side", "--force-conflicts", "--dry-run=server", check=False)
    assert done.returncode == 0, done.stderr
    assert "PodSecurity" not in done.stderr, "a pod would be refused"


@pytest.mark.parametrize("namespace", ["ratchet", "ratchet-serving"])
def test_a_pod_outside_restricted_is_refused(cluster: Cluster, namespace: str) -> None:
    done = cluster.kubectl("create", "--namespace", namespace, "--dry-run=server", "-f", "-", check=False, given=json.dumps(BARE))
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_prefect_answers_401_without_the_key_and_its_probes_without_one(cluster: Cluster) -> None:
    api = cluster.env["PREFECT_API_URL"]
    user, _, password = cluster.env["PREFECT_API_AUTH_STRING"].partition(":")

    asked = [httpx.get(f"{api}/version", auth=auth, timeout=30).status_code for auth in (None, (user, "wrong"), (user, password))]

    assert asked == [401, 401, 200]
    assert httpx.post(f"{api}/flow_runs/filter", json={}, timeout=30).status_code == 401
    assert httpx.get(f"{api}/ready", timeout=30).status_code == 200


def test_the_store_answers_403_without_its_keys(cluster: Cluster) -> None:
    assert httpx.get(f"{cluster.env['AWS_ENDPOINT_URL']}/ratchet", timeout=30).status_code == 403


@pytest.mark.parametrize("namespace", ["ratchet", "ratchet-serving"])
@pytest.mark.parametrize("resource", ["deployments", "pods", "secrets", "configmaps", "jobs"])
def test_a_flow_run_and_an_endpoint_may_nothing(cluster: Cluster, namespace: str, resource: str) -> None:
    for account in ("ratchet:flow-run", "ratchet-serving:endpoint", "ratchet:default", "ratchet-serving:default"):
        for verb in ("get", "create", "delete"):
            assert not may(cluster, account, verb, resource, namespace), f"{account} may {verb} {resource}"


def test_a_release_changes_what_serves_and_reads_no_secret(cluster: Cluster) -> None:
    changes = ("deployments.apps", "services", "configmaps", "poddisruptionbudgets", "horizontalpodautoscalers", "networkpolicies")
    assert all(may(cluster, "ratchet:releaser", "patch", resource, "ratchet-serving") for resource in changes)
    for namespace in ("ratchet", "ratchet-serving"):
        for verb in ("get", "list", "watch", "create"):
            assert not may(cluster, "ratchet:releaser", verb, "secrets", namespace)
        assert not may(cluster, "ratchet:releaser", "create", "pods", namespace)
    assert not any(may(cluster, "ratchet:releaser", "get", resource, "ratchet") for resource in ("deployments.apps", "configmaps", "pods", "jobs"))


def test_the_worker_makes_jobs_and_cannot_touch_what_serves(cluster: Cluster) -> None:
    assert all(may(cluster, "ratchet:worker", verb, "jobs", "ratchet") for verb in ("get", "list", "watch", "create", "delete"))
    for resource in ("jobs", "pods", "deployments.apps", "secrets", "configmaps", "services"):
        assert not any(may(cluster, "ratchet:worker", verb, resource, "ratchet-serving") for verb in ("get", "create", "patch", "delete"))
    assert not any(may(cluster, "ratchet:worker", verb, "secrets", "ratchet") for verb in ("get", "list", "create"))


def test_no_pod_of_the_platform_holds_a_token_it_has_no_use_for(cluster: Cluster) -> None:
    mounted = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in cluster.pods("app.kubernetes.io/name in (prefect,worker,reports,postgres,s3)")
        for volume in pod["spec"]["volumes"]
        if "projected" in volume
    }
    assert mounted == {"worker"}


def test_no_flow_run_shows_the_api_key_in_its_manifest(cluster: Cluster) -> None:
    password = cluster.env["PREFECT_API_AUTH_STRING"].partition(":")[2]
    jobs = json.loads(cluster.kubectl("get", "jobs", "--namespace", "ratchet", "--output", "json").stdout)["items"]
    for job in jobs:
        told = {v["name"]: v for c in job["spec"]["template"]["spec"]["containers"] for v in c.get("env", [])}
        assert "valueFrom" in told["PREFECT_API_AUTH_STRING"]
        assert not [name for name, variable in told.items() if password in variable.get("value", "")]
