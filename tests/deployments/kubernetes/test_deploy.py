"""`ratchet deploy` for a cluster, against a real Prefect server; no worker is there, so what it starts only waits."""

from pathlib import Path

import pytest
from factories import batch, day
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from standins import make_place

from deployments.kubernetes.deploy import deploy
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.ledger.questions import open_decisions, rows
from tasks.ledger.rows import ProposalRow, ReleaseRow
from tasks.settings import Settings


@pytest.fixture(scope="module")
def client(prefect_client: SyncPrefectClient) -> SyncPrefectClient:
    return prefect_client


@pytest.fixture
def settings(client: SyncPrefectClient, tmp_path: Path) -> Settings:
    """A project of two models on a Prefect that holds no runs."""
    for run in client.read_flow_runs(limit=200):
        client.delete_flow_run(run.id)
    place = make_place(tmp_path)
    images = {"flow_image": "local/flow:abc", "serving_image": "local/serving:def"}
    return Settings(project=place.project, home=place.home, target="kubernetes", work_pool="kubernetes", public_url="http://prefect.example", **images)


def started(client: SyncPrefectClient) -> list[str]:
    """Names of the deployments that a run was started of, schedules apart."""
    names = {found.id: found.name for found in client.read_deployments()}
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return sorted(f"{flows[run.flow_id]}/{names[run.deployment_id]}" for run in client.read_flow_runs() if run.deployment_id and not run.auto_scheduled)


def test_it_makes_the_pool_registers_everything_and_starts_what_follows(
    client: SyncPrefectClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(settings, wait=False)

    pool = client.read_work_pool("kubernetes")
    assert pool.type == "kubernetes"
    assert pool.base_job_template["variables"]["properties"]["image"]["default"] == "local/flow:abc"
    assert started(client) == ["ingest/flights", "reconcile/all"]
    history = Installation.of(settings).ledger.read()
    assert [row.trigger for row in rows(history, ProposalRow)] == ["first", "first"], "they wait for the rows that the ingest brings"
    said = capsys.readouterr().out
    assert "ingesting 2013-01, 2013-02 of flights: http://prefect.example/v2/runs/flow-run/" in said or "ingesting 2013-01, 2013-02 of flights" in said


def test_again_it_proposes_nothing_that_is_under_way_and_ingests_nothing_twice(client: SyncPrefectClient, settings: Settings) -> None:
    deploy(settings, wait=False)
    deploy(settings, wait=False)

    history = Installation.of(settings).ledger.read()
    assert len(rows(history, ProposalRow)) == 2
    assert started(client).count("ingest/flights") == 1


def test_a_model_that_is_live_is_left_alone_and_a_new_one_is_brought_on(settings: Settings) -> None:
    here = Installation.of(settings)
    here.ledger.append(batch("2013-01", day(1)), batch("2013-02", day(2)), ReleaseRow(model="late", release="r", version="v", step="live", reason="better"))

    deploy(settings, wait=False)

    history = here.ledger.read()
    assert open_decisions(history, "late") == []
    assert [decision.trigger for decision in open_decisions(history, "air")] == ["first"]


def test_without_an_image_nothing_is_touched(settings: Settings) -> None:
    with pytest.raises(PlatformError, match="Set RATCHET_FLOW_IMAGE and RATCHET_SERVING_IMAGE, or give --build"):
        deploy(settings.model_copy(update={"serving_image": ""}), wait=False)


def test_a_pool_for_another_kind_of_worker_is_not_taken_over(client: SyncPrefectClient, settings: Settings) -> None:
    client.create_work_pool(WorkPoolCreate(name="taken", type="process"))

    with pytest.raises(PlatformError, match="'taken' is of type 'process', not 'kubernetes'"):
        deploy(settings.model_copy(update={"work_pool": "taken"}), wait=False)
