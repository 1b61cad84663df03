"""Runs that nothing runs any more are called crashed, and only those. Against a real Prefect server."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Paused, Pending, Running, Scheduled, State

from tasks.governance import janitor


@pytest.fixture(scope="module")
def client(prefect_client: SyncPrefectClient) -> SyncPrefectClient:
    return prefect_client


@flow
def work() -> None: ...


@flow
def sweep() -> list[str]:
    return janitor.bury_dead_runs()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_PENDING_SECONDS", "3600")


def run_in(client: SyncPrefectClient, state: "State[None]") -> UUID:
    run = client.create_flow_run(work)
    client.set_flow_run_state(run.id, state, force=True)
    return run.id


def state_of(client: SyncPrefectClient, run: UUID) -> "State[None]":
    found = client.read_flow_run(run).state
    assert found is not None
    return found


def pod_is(client: SyncPrefectClient, run: UUID, phase: str, **labels: str) -> None:
    """Tell the server of the run's pod what the worker's observer tells."""
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": f"prefect.kubernetes.pod.{phase}",
        "resource": {"prefect.resource.id": f"prefect.kubernetes.pod.{uuid4()}", "prefect.resource.name": "late-run-x7", **labels},
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}],
    }
    client.request("POST", "/events", json=[event]).raise_for_status()


def until_told(client: SyncPrefectClient, run: UUID, events: int) -> None:
    import time

    wanted = {"related": {"id": [f"prefect.flow-run.{run}"]}, "event": {"prefix": ["prefect.kubernetes.pod."]}}
    for _ in range(500):
        if len(client.request("POST", "/events/filter", json={"filter": wanted, "limit": events}).json()["events"]) == events:
            return
        time.sleep(0.2)
    raise AssertionError("the server does not show the events")


def test_a_run_that_never_starts_is_called_crashed_in_the_words_of_its_pod(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = run_in(client, Pending(name="InfrastructurePending"))
    pod_is(client, waiting, "pending", **{"kubernetes.diagnosis": "ImagePullError"})
    pod_is(client, waiting, "pending")
    until_told(client, waiting, 2)
    monkeypatch.setenv("RATCHET_PENDING_SECONDS", "0.001")

    assert client.read_flow_run(waiting).name in sweep()

    found = state_of(client, waiting)
    assert found.is_crashed()
    assert found.message == "Not started within 0 s. Its pod late-run-x7 is pending (ImagePullError); the run's log says more."


def test_a_run_that_nobody_made_a_pod_for_says_so(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = run_in(client, Pending())
    monkeypatch.setenv("RATCHET_PENDING_SECONDS", "0.001")

    sweep()

    assert "the worker died, or could not make one" in str(state_of(client, taken).message)


def test_a_run_without_a_heartbeat_is_called_crashed(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = run_in(client, Running())
    monkeypatch.setattr(janitor, "HEARTBEATS_MISSED", 0)

    sweep()

    assert state_of(client, lost).is_crashed()
    assert "No heartbeat" in str(state_of(client, lost).message)


def test_what_runs_waits_its_turn_or_is_paused_is_left_alone(client: SyncPrefectClient) -> None:
    alive = [run_in(client, state) for state in (Running(), Pending(), Scheduled(), Paused(timeout_seconds=600))]

    assert sweep() == []
    assert not any(state_of(client, run).is_crashed() for run in alive)
