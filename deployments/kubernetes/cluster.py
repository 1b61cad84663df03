"""The platform on a cluster: bring it up, say how this machine talks to it, and take everything away again.

    eval "$(python -m deployments.kubernetes.cluster up)"

With the test cluster (`RATCHET_CLUSTER`, else ../shared/cluster beside the checkout) that cluster is brought up first. Elsewhere `KUBECONFIG` names
the cluster and `RATCHET_REGISTRY` the registry that its nodes pull from. `RATCHET_STORAGE` is the node's folder for database and store.
"""

import base64
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from deployments.kubernetes import builders
from deployments.kubernetes.images import NAMES, ROOT, build
from deployments.kubernetes.wait import wait
from tasks.errors import PlatformError, RatchetError

OVERLAY = ROOT / "deployments" / "kubernetes" / "overlays" / "local"
NAMESPACES = ("ratchet", "ratchet-serving")
STORAGE = "/var/tmp/ratchet-storage"  # noqa: S108  # as in the overlay
FOLDERS = ("postgres", "s3")
OWNER = 1000  # the account of every image
WORKLOADS = ("statefulset/postgres", "deployment/s3", "deployment/prefect", "deployment/worker", "deployment/reports")
PLATFORM = "app.kubernetes.io/component=platform"
READY_SECONDS = 300
# What has a name inside the cluster only, and the node port by which this machine reaches it.
NODE_PORTS = {"postgres.ratchet.svc:5432": "127.0.0.1:30432", "s3.ratchet.svc:7070": "127.0.0.1:30433"}
ONLY_IN_PODS = {"RATCHET_PROJECT", "RATCHET_HOME", "PYTHONDONTWRITEBYTECODE"}


def up() -> dict[str, str]:
    """Build what is missing, apply the local overlay, and return `environment()` when every part of the platform is available. May be repeated.

    Raises:
        PlatformError: an image cannot be built, the cluster refuses a manifest, or a pod does not become ready; the message says which and why.
    """
    _say("images")
    references = {name: build(name) for name in NAMES}
    if builders.cluster_folder():
        _folders()
    kubectl("apply", "-f", "-", given=manifests(references))
    for workload in WORKLOADS:
        _say(f"waiting for {workload}")
        _await(workload)
    found = environment()
    wait(f"{found['PREFECT_API_URL']}/ready", READY_SECONDS)
    _say(f"the platform is up: {found['RATCHET_PUBLIC_URL']}")
    return found


def manifests(references: dict[str, str]) -> str:
    """The local overlay with these images, and in `ratchet-settings` those that a deployment needs to name."""
    text = kubectl("kustomize", str(OVERLAY)).replace(STORAGE, str(_storage()))
    for name, reference in references.items():
        text = text.replace(f"local/ratchet-{name}:local", reference)
    documents = list(yaml.safe_load_all(text))
    for found in documents:
        if found["kind"] == "ConfigMap" and found["metadata"]["namespace"] == "ratchet":
            found["data"] |= {"RATCHET_FLOW_IMAGE": references["flow"], "RATCHET_SERVING_IMAGE": references["serving"]}
    return yaml.safe_dump_all(documents)


def environment() -> dict[str, str]:
    """The variables by which a process on this machine talks to the platform that runs, read from the platform itself.

    Raises:
        PlatformError: it does not run.
    """
    facts = _data("configmap", "ratchet-settings")
    for name in ("ratchet-ledger", "ratchet-store", "ratchet-keys"):
        facts |= _data("secret", name)
    facts |= {"PREFECT_API_URL": f"{facts['RATCHET_PUBLIC_URL']}/api", "PREFECT_API_AUTH_STRING": _data("secret", "ratchet-prefect")["auth-string"]}
    for inside, outside in NODE_PORTS.items():
        facts = {key: value.replace(inside, outside) for key, value in facts.items()}
    return {key: value for key, value in facts.items() if key not in ONLY_IN_PODS} | _client()


def reset() -> None:
    """Remove the platform with its ledger, store and Prefect database; the cluster and its images stay."""
    kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=false")
    for namespace in NAMESPACES:
        kubectl("delete", "pods", "--all", "--namespace", namespace, "--grace-period=1", "--wait=false")
    kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=180s")
    kubectl("delete", "persistentvolume", *(f"ratchet-{name}" for name in FOLDERS), "--ignore-not-found", "--timeout=60s")
    for name in FOLDERS if builders.cluster_folder() else ():
        shutil.rmtree(_storage() / name, ignore_errors=True)


def mute_image() -> str:
    """Reference of a serving image that starts and never answers a probe: what a drill releases to see it undone."""
    return build("mute")


def kubectl(*words: str, given: str = "") -> str:
    """What kubectl printed; raises PlatformError when it failed."""
    return builders.run(["kubectl", *words], given, **_client())


def _client() -> dict[str, str]:
    """Where kubectl and the cluster are."""
    if (folder := builders.cluster_folder()) is None:
        return {"KUBECONFIG": os.environ["KUBECONFIG"]} if "KUBECONFIG" in os.environ else {}
    programs = Path(os.environ.get("CLUSTER_CACHE") or Path.home() / ".cache" / "test-cluster") / "bin"
    paths = os.environ["PATH"].split(os.pathsep)
    return {"KUBECONFIG": str(builders.kubeconfig(folder)), "PATH": os.pathsep.join([str(programs), *(path for path in paths if path != str(programs))])}


def _storage() -> Path:
    return Path(os.environ.get("RATCHET_STORAGE", STORAGE)).resolve()


def _folders() -> None:
    """A pod of the namespace may not change the owner of a folder of the node, so it is right from the start."""
    for name in FOLDERS:
        folder = _storage() / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chown(folder, OWNER, OWNER)


def _data(kind: str, name: str) -> dict[str, str]:
    found = json.loads(kubectl("get", kind, name, "--namespace", NAMESPACES[0], "--output", "json"))["data"]
    return {key: base64.b64decode(value).decode() for key, value in found.items()} if kind == "secret" else dict(found)


def _await(workload: str) -> None:
    try:
        kubectl("rollout", "status", workload, "--namespace", NAMESPACES[0], f"--timeout={READY_SECONDS}s")
    except PlatformError as err:
        raise PlatformError(
            f"{workload} is not available after {READY_SECONDS} s: {'; '.join(_ailing()) or err}", "Mend what it says, then run this again."
        ) from err


def _ailing() -> list[str]:
    """A sentence for each container that does not run, and each pod that has no node."""
    pods = json.loads(kubectl("get", "pods", "--namespace", NAMESPACES[0], "--selector", PLATFORM, "--output", "json"))["items"]
    return [told for pod in pods for told in _told(pod)]


def _told(pod: dict[str, Any]) -> list[str]:
    name, status = pod["metadata"]["name"], pod["status"]
    held = [f"{name}: {found['message']}" for found in status.get("conditions", []) if found["type"] == "PodScheduled" and found["status"] == "False"]
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated") or {}
        waiting = container["state"].get("waiting") or {}
        if not container["ready"] and (waiting or ended.get("exitCode")):
            words = (waiting.get("reason") or ended.get("reason", ""), waiting.get("message", ""), ended.get("message", "").strip())
            held.append(f"{name}/{container['name']}: {' '.join(filter(None, words))}")
    return held


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def main(words: list[str]) -> int:
    """`up` and `environment` print export lines on stdout; `reset` prints nothing."""
    known = {"up": up, "environment": environment, "reset": reset}
    if len(words) != 1 or words[0] not in known:
        print(f"usage: python -m deployments.kubernetes.cluster {'|'.join(known)}", file=sys.stderr)
        return 2
    try:
        found = known[words[0]]() or {}
    except (RatchetError, TimeoutError) as err:
        print(f"ratchet: {err}", file=sys.stderr)
        return 1
    print("\n".join(f"export {key}={shlex.quote(value)}" for key, value in sorted(found.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
