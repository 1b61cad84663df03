"""Things break on the cluster, one after the other. Each drill ends in a declared state with the cause named, and no caller loses an answer."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from functools import partial
from pathlib import Path

import httpx
import orjson
import pytest
from cluster_up import Cluster, patiently, until
from platform_up import ROOT, copy_of_tree

from deployments.demo.kubernetes import address, start
from deployments.demo.load import Load
from deployments.demo.play import key, sample
from tasks import handoff
from tasks.ledger.questions import attempts, live, open_decisions, rows
from tasks.ledger.rows import ClosedRow, DecisionRow, ReleaseRow, VersionRow
from tasks.monitoring.segments import local_copy
from tasks.replay.traffic import send_rows

MODEL = "flights_late"
SERVING = f"ratchet/model={MODEL}"

pytestmark = pytest.mark.cluster


def load(cluster: Cluster) -> Load:
    return Load(address(cluster.here), orjson.dumps(sample(cluster.here, "2013-04")), key(cluster.here), rate=300)


def ready(cluster: Cluster) -> int:
    """Number of pods that answer and stay: a deleted one is not counted from that moment on, when its Deployment may still count it."""
    conditions = [pod["status"].get("conditions", ()) for pod in cluster.pods(SERVING, "ratchet-serving")]
    return sum(any(each["type"] == "Ready" and each["status"] == "True" for each in found) for found in conditions)


def replace(cluster: Cluster, pod: str) -> None:
    """Delete a serving pod, and wait until another one has taken its place, which kube-proxy learns of a moment later."""
    cluster.kubectl("delete", "pod", "-n", "ratchet-serving", pod, "--wait=false", "--ignore-not-found")
    until(lambda: ready(cluster) >= 2, 300, "two pods to be ready again")
    time.sleep(5)


def train(cluster: Cluster) -> tuple[str, DecisionRow]:
    """Start a training as a person would; its run, and the decision it led to. A schedule's run may decide something beside it."""
    until(lambda: not open_decisions(cluster.history(), MODEL), 600, "earlier decisions to end")
    run = handoff.start(f"train/{MODEL}", {"model": MODEL, "settings": {"trials": 12, "reason": "a drill", "approver": "operator"}})
    decided = partial(rows, kind=DecisionRow, model=MODEL, action="retrain", run=run)
    until(lambda: bool(decided(cluster.history())), 400, "the training to be decided on")
    return run, decided(cluster.history())[0]


def settled(cluster: Cluster, decision: DecisionRow, seconds: float = 1200) -> ClosedRow:
    """Wait until the decision has ended; there is never more than one version for it."""
    until(lambda: not open_decisions(cluster.history(), MODEL), seconds, f"{decision.decision} to end")
    history = cluster.history()
    assert len(rows(history, VersionRow, decision=decision.decision)) <= 1
    (closed,) = rows(history, ClosedRow, decision=decision.decision)
    return closed


def pod_of(cluster: Cluster, run: str, phases: Collection[str] = ("Running",)) -> str:
    """The pod of a flow run, once it is that far."""

    names: list[str] = []

    def found() -> bool:
        pods = cluster.pods(f"prefect.io/flow-run-id={run}")
        names.extend(pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in phases)
        return bool(names)

    until(found, 400, f"the pod of run {run}")
    return names[0]


def test_the_demo_closes_the_loop_and_loses_no_request(cluster: Cluster) -> None:
    assert cluster.demo["closed"], cluster.demo["claims"]
    assert cluster.demo["load"]["requests"] >= 50_000
    assert cluster.demo["failed_requests"] == 0, cluster.demo["load"]


def test_serving_pods_deleted_one_by_one_lose_no_request(cluster: Cluster) -> None:
    with load(cluster) as callers:
        for pod in cluster.pods(SERVING, "ratchet-serving"):
            replace(cluster, pod["metadata"]["name"])
        callers.until_sent(5_000)

    assert callers.failures == Counter()


def test_what_was_answered_is_in_the_store_exactly_once_though_its_pods_are_gone(cluster: Cluster) -> None:
    row = orjson.dumps(sample(cluster.here, "2013-04")["rows"][0])
    pods = [pod["metadata"]["name"] for pod in cluster.pods(SERVING, "ratchet-serving")]

    def delete() -> None:
        for pod in pods:
            time.sleep(2)
            replace(cluster, pod)

    deleting = threading.Thread(target=delete)
    deleting.start()
    host, port = address(cluster.here).removeprefix("http://").split(":")
    sent = send_rows(f"http://{host}:{port}", [row] * 6_000, key=cluster.here.settings.predict_key.get_secret_value())
    deleting.join()

    assert sent.failed == 0, sent.problem
    until(lambda: all(name not in cluster.kubectl("get", "pods", "-n", "ratchet-serving", "-o", "name").stdout for name in pods), 300, "the old pods to end")
    wanted = set(sent.ids)
    until(lambda: set(shipped(cluster, wanted)) == wanted, 120, "the sidecars, which ship every second, to have shipped all of it")
    time.sleep(5)  # in which a second copy would come
    assert (len(wanted), set(shipped(cluster, wanted).values())) == (6_000, {1})


def shipped(cluster: Cluster, wanted: Collection[str]) -> Counter[str]:
    """How often each id that is wanted is in the store."""
    paths = (local_copy(cluster.here.settings, MODEL) / "predictions").glob("*.jsonl")
    return Counter(name for path in paths for line in path.read_bytes().splitlines() if (name := orjson.loads(line)["id"]) in wanted)


def test_a_worker_that_is_killed_in_mid_training_costs_nothing(cluster: Cluster) -> None:
    run, decision = train(cluster)
    pod_of(cluster, run)
    cluster.kubectl("delete", "pod", "-n", "ratchet", "-l", "app.kubernetes.io/name=worker", "--force", "--grace-period=0")

    closed = settled(cluster, decision)

    assert closed.outcome in {"promoted", "refused"}, closed.reason
    assert len(attempts(cluster.history(), decision.decision)) == 1


@pytest.mark.parametrize("how", [("--force", "--grace-period=0"), ()], ids=["killed", "evicted"])
def test_a_training_whose_pod_goes_is_tried_again_and_gives_one_version(cluster: Cluster, how: tuple[str, ...]) -> None:
    run, decision = train(cluster)
    until(lambda: bool(attempts(cluster.history(), decision.decision)), 120, "its first attempt to be granted")
    cluster.kubectl("delete", "pod", "-n", "ratchet", pod_of(cluster, run), "--wait=false", *how)

    closed = settled(cluster, decision)

    assert closed.outcome in {"promoted", "refused"}, closed.reason
    assert len(attempts(cluster.history(), decision.decision)) == 2
    assert len(rows(cluster.history(), VersionRow, decision=decision.decision)) == 1


def test_an_image_that_does_not_exist_is_named_and_undone(cluster: Cluster) -> None:
    before = live(cluster.history(), MODEL)
    assert before is not None
    row = release_with(cluster, "local/no-such-image:1", before.version)

    assert row.step == "undone"
    assert "local/no-such-image:1" in row.reason
    assert "image" in row.reason
    after = live(cluster.history(), MODEL)
    assert after is not None
    assert after.release == before.release


def release_with(cluster: Cluster, image: str, version: str) -> ReleaseRow:
    seen = len(cluster.history())
    run = start(f"release/{MODEL}", {"model": MODEL, "version": version, "approver": "operator", "reason": "a drill"}, image)
    assert handoff.wait(run, 900).state_type == "FAILED"
    return [row for row in rows(cluster.history()[seen:], ReleaseRow, model=MODEL, run=run) if row.step != "started"][-1]


@pytest.mark.parametrize("how", [("--force", "--grace-period=0"), ()], ids=["killed", "restarted"])
def test_a_database_that_restarts_in_mid_release_leaves_one_live_version_that_answers(cluster: Cluster, how: tuple[str, ...]) -> None:
    until(lambda: not open_decisions(cluster.history(), MODEL), 600, "earlier decisions to end")
    seen = len(cluster.history())
    run = handoff.start(f"rollback/{MODEL}", {"model": MODEL, "version": "previous", "approver": "operator", "reason": "a drill"})
    until(lambda: any(row.step == "started" for row in rows(cluster.history()[seen:], ReleaseRow, model=MODEL, run=run)), 400, "the release to start")
    cluster.kubectl("delete", "pod", "-n", "ratchet", "-l", "app.kubernetes.io/name=postgres", "--wait=false", *how)

    patiently(lambda: handoff.wait(run, 900))
    ended = patiently(lambda: [row for row in rows(cluster.history()[seen:], ReleaseRow, model=MODEL, run=run) if row.step != "started"])
    until(lambda: answering(cluster) == patiently(lambda: live_release(cluster)), 300, "the endpoint to answer as the ledger says")

    assert len(ended) <= 1
    assert cluster.ratchet("verify").returncode == 0


def live_release(cluster: Cluster) -> str:
    found = live(cluster.history(), MODEL)
    return found.release if found else ""


def answering(cluster: Cluster) -> str:
    """The release that answers; empty when none does."""
    try:
        reply = httpx.post(f"{address(cluster.here)}/predict", json=sample(cluster.here, "2013-04"), headers=key(cluster.here), timeout=60)
        return str(reply.raise_for_status().json()["release"])
    except httpx.HTTPError:
        return ""


def test_a_model_that_is_added_goes_live_beside_runs_and_endpoints_that_stay_as_they_are(cluster: Cluster, tmp_path: Path) -> None:
    copy_of_tree(tmp_path)
    add_model(tmp_path, "flights_gate_to_gate", like="flights_airtime")
    late = tmp_path / "bentos" / MODEL / "model.toml"
    late.write_text(late.read_text().replace("[triggers]", '[triggers]\ncode_change = "retrain"'))
    before = {name: live(cluster.history(), name) for name in cluster.here.project.models()}
    under_way = handoff.start("replay/flights", {"dataset": "flights", "batches": ["2013-04"], "requests": 100, "days_per_second": 0.05})
    image = image_of(cluster, under_way)

    env = cluster.env | {"RATCHET_CLUSTER": str((ROOT / cluster.env.get("RATCHET_CLUSTER", "../shared/cluster")).resolve())}
    command = [sys.executable, "-m", "deployments.cli", "deploy", "--build", "--wait"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=1800)

    assert done.returncode == 0, done.stdout + done.stderr
    assert live(cluster.history(), "flights_gate_to_gate") is not None
    history = cluster.history()
    changed = [entry.seq for entry in history if isinstance(entry.row, DecisionRow) and (entry.row.model, entry.row.trigger) == (MODEL, "code_change")]
    until_then = [entry for entry in history if not changed or entry.seq < changed[0]]  # what its changed folder leads to may be live by now
    assert {name: live(until_then if name == MODEL else history, name) for name in before} == before
    assert image_of(cluster, under_way) == image
    until(lambda: "code_change" in {row.trigger for row in rows(cluster.history(), DecisionRow, model=MODEL)}, 600, "the changed folder to be proposed")
    newer = handoff.start(f"monitor/{MODEL}", {"model": MODEL})
    assert image_of(cluster, newer) != image


def add_model(project: Path, name: str, like: str) -> None:
    """A folder of its own for a model like another one, on the next slot."""
    folder = shutil.copytree(project / "bentos" / like, project / "bentos" / name)
    shutil.copyfile(project / "expectations/flights" / f"{like}.json", project / "expectations/flights" / f"{name}.json")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace(like, name).replace("slot = 1", "slot = 2"))


def image_of(cluster: Cluster, run: str) -> str:
    """The image of a run's pod."""
    name = pod_of(cluster, run, ("Running", "Succeeded"))
    return str(json.loads(cluster.kubectl("get", "pod", "-n", "ratchet", name, "-o", "json").stdout)["spec"]["containers"][0]["image"])
