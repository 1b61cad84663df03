"""Registration: the graph as data, and what a real Prefect server holds of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from standins import MODEL

from deployments.descriptions import described
from deployments.kubernetes.job_template import job_template
from deployments.local.runs import switch_schedules
from deployments.register import Deployment, form, register, wanted
from tasks import handoff
from tasks.errors import SpecError, UnknownNameError
from tasks.project import Project
from tasks.settings import Settings

SNAPSHOT = Path(__file__).with_name("graph.json")
HERE = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two models of one dataset, the second with a schedule of its own."""
    (tmp_path / "expectations/flights").mkdir(parents=True)
    (tmp_path / "expectations/flights/dataset.toml").write_text('period = "month"\n')
    for name, more in (("air", ""), ("late", 'schedule = "0 3 * * 1"\n')):
        (tmp_path / "bentos" / name).mkdir(parents=True)
        (tmp_path / "bentos" / name / "model.toml").write_text(more + MODEL)
    return Settings(project=tmp_path, home=tmp_path / "home")


@pytest.fixture(scope="module")
def client(prefect_client: SyncPrefectClient) -> SyncPrefectClient:
    prefect_client.create_work_pool(WorkPoolCreate(name="local", type="process"))
    return prefect_client


def graph(settings: Settings) -> list[Deployment]:
    return list(wanted(Project.of(settings), settings))


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def test_the_graph_is_the_one_that_was_reviewed(settings: Settings) -> None:
    """After a change on purpose: write `found` to tests/deployments/graph.json and read the diff."""
    found = [
        {"name": d.full_name, "entrypoint": d.entrypoint, "parameters": d.parameters, "tags": list(d.tags)}
        | ({"cron": d.cron} if d.cron else {})
        | ({"every_seconds": d.every_seconds, "offset_seconds": d.offset_seconds} if d.every_seconds else {})
        for d in graph(settings)
    ]

    assert found == json.loads(SNAPSHOT.read_text())


def test_on_kubernetes_the_same_graph_says_what_each_job_needs(settings: Settings) -> None:
    on_cluster = settings.model_copy(update={"target": "kubernetes", "flow_image": "local/flow:abc", "serving_image": "local/serving:def"})
    here, there = graph(settings), {d.full_name: d for d in graph(on_cluster)}

    assert [d.full_name for d in here] == list(there)
    assert all(d.job == {} for d in here)
    assert all(d.job["image"] == "local/flow:abc" and "image:abc" in d.tags for d in there.values())
    rewrite(settings.project / "bentos/late/model.toml", MODEL + '[training]\nmemory = "3Gi"\n')
    assert {d.full_name: d for d in graph(on_cluster)}["train/late"].job["memory_limit"] == "3Gi"


def test_the_tag_of_a_models_deployments_moves_with_its_folders(settings: Settings) -> None:
    def code(model: str) -> set[str]:
        return {tag for d in graph(settings) if f"model:{model}" in d.tags for tag in d.tags if tag.startswith("code:")}

    late, air = code("late"), code("air")
    rewrite(settings.project / "bentos/late/model.toml", MODEL + "# another word\n")

    assert len(late) == len(air) == 1
    assert code("late") not in (late, air)
    assert code("air") == air


def test_a_broken_folder_stops_the_registration_by_name(settings: Settings) -> None:
    rewrite(settings.project / "bentos/late/model.toml", MODEL.replace("metric", "metrik"))

    with pytest.raises(SpecError, match=r"bentos/late/model.toml: .*gate.metrik: no such key. Did you mean 'metric'"):
        graph(settings)


def test_every_deployment_of_this_repository_has_a_flow_with_a_form_and_a_description() -> None:
    for deployment in wanted(Project(HERE), Settings(project=HERE)):
        schema = form(deployment)

        assert set(deployment.parameters) <= set(schema["properties"]), deployment.full_name
        assert "/v2/artifacts/key/status" in described(deployment.flow, deployment.name, "http://ui/v2")


def test_the_form_offers_only_the_model_that_the_deployment_is_for(settings: Settings) -> None:
    forms = {d.full_name: form(d)["properties"] for d in graph(settings)}

    assert forms["train/late"]["model"]["enum"] == ["late"]
    assert forms["train/late"]["model"]["default"] == "late"
    assert forms["rollback/late"]["version"]["enum"] == ["previous"]
    assert "enum" not in forms["release/late"]["version"]


def test_registering_makes_every_deployment_and_doing_it_again_changes_nothing(client: SyncPrefectClient, settings: Settings) -> None:
    names = register(settings)
    before = facts(client)

    assert register(settings) == names
    assert sorted(before) == sorted(names) == sorted(d.full_name for d in graph(settings))
    assert facts(client) == before
    assert before["train/late"]["entrypoint"] == "flows.train.train"
    assert before["train/late"]["pull_steps"] == []
    assert before["rollback/late"]["parameters"]["version"] == "previous"


def test_a_schedule_that_an_operator_paused_stays_paused_after_a_deploy(client: SyncPrefectClient, settings: Settings) -> None:
    register(settings)
    assert switch_schedules("monitor/late", active=False) == ["monitor/late"]

    register(settings)

    assert schedules(client)["monitor/late"] == [False]
    assert schedules(client)["monitor/air"] == [True]
    assert sorted(switch_schedules("late", active=True)) == ["monitor/late", "train/late"]
    assert schedules(client)["monitor/late"] == [True]


def test_a_changed_schedule_is_changed_and_a_removed_one_is_gone(client: SyncPrefectClient, settings: Settings) -> None:
    register(settings)
    spec = settings.project / "bentos/late/model.toml"

    rewrite(spec, 'schedule = "0 4 * * *"\n' + MODEL)
    register(settings)
    [changed] = client.read_deployment_by_name("train/late").schedules
    assert changed.parameters == {"trigger": "schedule"}, "a scheduled training is no training on demand: cooldown and budget bind it"
    assert changed.schedule.cron == "0 4 * * *"  # type: ignore[union-attr]

    rewrite(spec, MODEL)
    register(settings)
    assert schedules(client)["train/late"] == []


def test_deployments_of_a_removed_folder_are_pruned_and_strangers_are_left_alone(client: SyncPrefectClient, settings: Settings) -> None:
    register(settings)
    client.create_deployment(flow_id=client.create_flow_from_name("theirs"), name="own")
    (settings.project / "bentos/late/model.toml").unlink()

    register(settings)

    left = facts(client)
    assert not [name for name in left if name.endswith("/late")]
    assert {"train/air", "theirs/own"} <= set(left)


def test_a_parameter_for_another_model_is_refused(client: SyncPrefectClient, settings: Settings) -> None:
    register(settings)

    with pytest.raises(Exception, match="refuses to start 'train/air'"):
        handoff.start("train/air", {"model": "late"})


def test_switching_schedules_of_an_unknown_name_says_so(client: SyncPrefectClient, settings: Settings) -> None:
    register(settings)

    with pytest.raises(UnknownNameError, match=r"monitor/lat'.*Did you mean 'monitor/late'"):
        switch_schedules("monitor/lat", active=False)


def test_a_cluster_is_told_image_account_and_revision_of_each_job(client: SyncPrefectClient, settings: Settings) -> None:
    pool = "kubernetes"
    client.create_work_pool(WorkPoolCreate(name=pool, type="kubernetes", base_job_template=job_template(settings)))
    told = {"target": "kubernetes", "work_pool": pool, "flow_image": "local/flow:abc", "serving_image": "local/serving:def", "project": HERE}
    register(settings.model_copy(update=told))

    found = client.read_deployment_by_name("release/flights_late")
    assert found.work_pool_name == pool
    assert found.job_variables["image"] == "local/flow:abc"
    assert found.job_variables["service_account_name"] == "releaser"
    assert found.job_variables["env"]["RATCHET_SERVING_IMAGE"] == "local/serving:def"
    assert found.version
    assert found.job_variables["env"]["RATCHET_COMMIT"].startswith(found.version)


def facts(client: SyncPrefectClient) -> dict[str, dict[str, Any]]:
    """What Prefect holds of each deployment, without the moments at which it was written."""
    flows = {flow.id: flow.name for flow in client.read_flows()}
    keep = {"id", "entrypoint", "parameters", "description", "tags", "parameter_openapi_schema", "pull_steps", "work_pool_name", "paused"}
    return {f"{flows[d.flow_id]}/{d.name}": d.model_dump(mode="json", include=keep) for d in client.read_deployments()}


def schedules(client: SyncPrefectClient) -> dict[str, list[bool]]:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[d.flow_id]}/{d.name}": [s.active for s in d.schedules] for d in client.read_deployments()}
