"""Every deployment of a project, discovered from its folders and registered with Prefect.

The graph is plain data (`wanted`), so that a change of it is a diff in review; `register` brings Prefect to it in one process.
No deployment has a concurrency limit: one training at a time is the ledger's lease. Prefect's own limit leaks its slot when
the server dies, and its queue is looked at every 20 s only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any

from deployments.descriptions import described
from deployments.kubernetes.jobs import job_variables
from tasks.errors import PlatformError
from tasks.ledger.provenance import as_text, commit_of
from tasks.ledger.rows import Commit
from tasks.prefect_api import connection
from tasks.project import Project
from tasks.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.client.schemas.schedules import SCHEDULE_TYPES

OURS = "ratchet"  # the tag of every deployment registered here; only those are ever pruned
ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)  # a fixed one: with the moment of registration, each `ratchet deploy` would shift the schedule
SLUG = "regular"

PER_DATASET = {"ingest": "flows.ingest.ingest", "waive": "flows.waive.waive", "replay": "flows.replay.replay"}
PER_MODEL = {
    "train": "flows.train.train",
    "release": "flows.release.release",
    "rollback": "flows.release.release",
    "monitor": "flows.monitor.monitor",
    "score": "flows.score.score",
}
RECONCILE = "flows.reconcile.reconcile"


@dataclass(frozen=True)
class Deployment:
    """One deployment as Prefect should know it. Its schedule is a cron expression in UTC, or a number of seconds and an offset."""

    flow: str
    name: str
    entrypoint: str
    parameters: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    cron: str = ""
    scheduled: dict[str, Any] = field(default_factory=dict)  # parameters of its scheduled runs that differ from those above
    every_seconds: int = 0
    offset_seconds: float = 0.0
    job: dict[str, Any] = field(default_factory=dict)  # Kubernetes: what its Job differs in from the work pool's template

    @property
    def full_name(self) -> str:
        """The name that `handoff.start` takes."""
        return f"{self.flow}/{self.name}"


def wanted(project: Project, settings: Settings) -> Iterator[Deployment]:
    """Every deployment of a project. A broken spec raises by name: nothing is skipped."""
    always = (OURS, *_image_tag(settings))
    for dataset in project.datasets():
        project.dataset(dataset)
        for flow, entrypoint in PER_DATASET.items():
            yield Deployment(
                flow, dataset, entrypoint, {"dataset": dataset}, (*always, f"stage:{flow}", f"dataset:{dataset}"), job=job_variables(flow, settings)
            )
    models = project.models()
    for number, model in enumerate(models):
        spec = project.model(model)
        code = f"code:{project.code_digest(model)[:12]}"  # of the folders as they were registered; a version's row has the digest it was made from
        for flow, entrypoint in PER_MODEL.items():
            yield Deployment(
                flow,
                model,
                entrypoint,
                {"model": model} | ({"version": "previous"} if flow == "rollback" else {}) | ({"trigger": "on_demand"} if flow == "train" else {}),
                (*always, f"stage:{flow}", f"model:{model}", f"dataset:{spec.dataset}", code),
                cron=spec.schedule if flow == "train" else "",
                scheduled={"trigger": "schedule"} if flow == "train" else {},
                every_seconds=settings.monitor_seconds if flow == "monitor" else 0,
                offset_seconds=settings.monitor_seconds * number / len(models) if flow == "monitor" else 0.0,  # not all at the same moment
                job=job_variables(flow, settings, spec),
            )
    every = settings.reconcile_seconds
    yield Deployment("reconcile", "all", RECONCILE, {}, (*always, "stage:reconcile"), every_seconds=every, job=job_variables("reconcile", settings))


def register(settings: Settings) -> list[str]:
    """Create or update every deployment, prune those whose folder is gone, and return the names.

    Raises:
        SpecError: a folder is broken. PlatformError: Prefect is not reachable or refuses a deployment.
    """
    project = Project.of(settings)
    deployments = list(wanted(project, settings))
    commit = commit_of(project.root)
    with connection() as client:
        flows = {name: client.create_flow_from_name(name) for name in dict.fromkeys(d.flow for d in deployments)}
        names = {id_: name for name, id_ in flows.items()} | {flow.id: flow.name for flow in client.read_flows()}
        there = {f"{names[found.flow_id]}/{found.name}": found for found in _all(client) if OURS in found.tags}
        for deployment in deployments:
            facts = _facts(deployment, settings, commit)
            _apply(client, deployment, flows[deployment.flow], facts, there.pop(deployment.full_name, None))
        for gone in there.values():
            client.delete_deployment(gone.id)
    return [deployment.full_name for deployment in deployments]


def _apply(client: "SyncPrefectClient", deployment: Deployment, flow_id: Any, facts: dict[str, Any], found: "DeploymentResponse | None") -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentScheduleUpdate, DeploymentUpdate
    from prefect.exceptions import PrefectHTTPStatusError

    schedule = _schedule(deployment)
    try:
        if found is None:
            # `paused` and `active` are left to Prefect's defaults here and never sent again, so that a pause in the UI stays.
            new = [DeploymentScheduleCreate(schedule=schedule, slug=SLUG, parameters=deployment.scheduled)] if schedule else None
            client.create_deployment(flow_id=flow_id, name=deployment.name, schedules=new, **facts)
            return
        same = [DeploymentScheduleUpdate(schedule=schedule, slug=SLUG, parameters=deployment.scheduled)] if schedule else None
        client.update_deployment(found.id, DeploymentUpdate(**facts, **({"schedules": same} if same else {})))
        for old in found.schedules:
            if schedule is None and old.id:
                client.delete_deployment_schedule(found.id, old.id)
    except PrefectHTTPStatusError as err:
        if err.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise  # the connection says what that means
        raise PlatformError(f"Prefect refuses deployment {deployment.full_name!r}: {err.response.text}", "Mend its spec or its flow.") from err


def _facts(deployment: Deployment, settings: Settings, commit: Commit | None) -> dict[str, Any]:
    told = {"RATCHET_COMMIT": as_text(commit)} if commit and deployment.job else {}
    return {
        "entrypoint": deployment.entrypoint,
        "parameters": deployment.parameters,
        "parameter_openapi_schema": form(deployment),
        "enforce_parameter_schema": True,
        "tags": list(deployment.tags),
        "description": described(deployment.flow, deployment.name, settings.ui_url),
        "version": commit.sha[:12] if commit else "",
        "work_pool_name": settings.work_pool,
        "job_variables": deployment.job | {"env": deployment.job["env"] | told} if deployment.job else {},
        "pull_steps": [],  # none: with a module entrypoint the code is where it is installed, on one machine and in an image
    }


def form(deployment: Deployment) -> dict[str, Any]:
    """The run form: the flow's own schema, with what this deployment is for (and a rollback's version) as the only choice."""
    from prefect.utilities.callables import parameter_schema

    module, _, name = deployment.entrypoint.rpartition(".")
    schema: dict[str, Any] = parameter_schema(getattr(import_module(module), name)).model_dump()
    for name in ("model", "dataset", "version"):
        if name in deployment.parameters:
            schema["properties"][name] |= {"enum": [deployment.parameters[name]], "default": deployment.parameters[name]}
    return schema


def _image_tag(settings: Settings) -> tuple[str, ...]:
    """The image that runs started from now on have; its tag, or the beginning of its digest."""
    return (f"image:{settings.flow_image.rpartition(':')[2][:12]}",) if settings.target == "kubernetes" else ()


def _schedule(deployment: Deployment) -> "SCHEDULE_TYPES | None":
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    if deployment.cron:
        return CronSchedule(cron=deployment.cron, timezone="UTC")
    if deployment.every_seconds:
        return IntervalSchedule(interval=timedelta(seconds=deployment.every_seconds), anchor_date=ANCHOR + timedelta(seconds=deployment.offset_seconds))
    return None


def _all(client: "SyncPrefectClient") -> "list[DeploymentResponse]":
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(limit=200, offset=len(found)):
        found += page
    return found
