"""What the replay flow does with a month: send its requests, then its labels, then its batch. Thin shells."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import fsspec
import pandas as pd
from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict

from tasks import handoff
from tasks.errors import ReleaseError
from tasks.installation import Installation
from tasks.ledger.questions import live, open_decisions
from tasks.replay.faults import Fault, spoil
from tasks.replay.request_rows import due_seconds, request_rows, sample
from tasks.replay.traffic import send_labels, send_rows
from tasks.spec import ModelSpec


class Traffic(BaseModel):
    """What was sent to one model: `url` is of a Parquet file with id, label and label time of each row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    address: str
    url: str
    requests: int
    failed: int
    seconds: float


Read = Callable[[str, str], pd.DataFrame]
LabelOf = Callable[[pd.DataFrame, ModelSpec], pd.Series]


@task(cache_policy=NO_CACHE)
def prepare_batch(dataset: str, batch: str, fault: Fault, read: Read) -> str:
    """Write the period's raw rows, with the fault in the world if there is one, to the inbox; returns the file's URL."""
    here = Installation.of()
    raw = read(dataset, batch)
    if fault == "concept_change":
        raw = spoil(raw, dataset, fault)
    url = f"{here.settings.inbox}/{dataset}/{batch}.parquet"
    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    raw.to_parquet(url, index=False)
    return url


@task(cache_policy=NO_CACHE)
def send_requests(model: str, url: str, count: int, fault: Fault, address: str, label_of: LabelOf, days_per_second: float = 0) -> Traffic:
    """Send a sample of the period's rows to a model's endpoint, in event order, one row a request, at the pace of the data's clock."""
    here = Installation.of()
    spec = here.project.model(model)
    raw = sample(pd.read_parquet(url), count)
    features = here.project.pipeline(model).features(raw.drop(columns=list(here.project.dataset(spec.dataset).outcome), errors="ignore"))
    if fault == "unit_change":
        features = spoil(features, spec.dataset, fault)
    rows, key = request_rows(features, spec.contract, raw["event_time"]), here.settings.predict_key.get_secret_value()
    sent = send_rows(address, rows, due_seconds=due_seconds(raw["event_time"], days_per_second), key=key)
    if sent.failed:
        get_run_logger().warning("%s: %d of %d requests failed, the first with %s", model, sent.failed, len(raw), sent.problem)
    delay = timedelta(days=here.project.dataset(spec.dataset).label_delay_days)
    outcome = f"{url.removesuffix('.parquet')}.{model}.sent.parquet"
    pd.DataFrame({"id": sent.ids, "label": label_of(raw, spec).to_numpy(), "time": (raw["event_time"] + delay).to_numpy()}).to_parquet(outcome)
    get_run_logger().info("%s: sent %d requests in %.1f s", model, len(raw), sent.seconds)
    return Traffic(model=model, address=address, url=outcome, requests=len(raw), failed=sent.failed, seconds=sent.seconds)


@task(cache_policy=NO_CACHE)
def send_feedback(traffic: Traffic) -> int:
    """Send the labels of what was answered, as a service would that learns them later."""
    here = Installation.of()
    spec = here.project.model(traffic.model)
    sent = pd.read_parquet(traffic.url)
    sent = sent[(sent["id"] != "") & sent["label"].notna()]
    convert = {"binary": bool, "regression": float, "multiclass": str}[spec.task]
    times = sent["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = [{"id": i, "label": convert(label), "time": t} for i, label, t in zip(sent["id"], sent["label"], times, strict=True)]
    return send_labels(traffic.address, labels, key=here.settings.feedback_key.get_secret_value())


@task(cache_policy=NO_CACHE)
def deliver_batch(dataset: str, batch: str, url: str) -> str:
    """Hand the period's batch to ingest."""
    return handoff.start(f"ingest/{dataset}", {"dataset": dataset, "batches": [batch], "uri": url})


@task(cache_policy=NO_CACHE)
def start_monitors(models: list[str]) -> list[str]:
    """Let the answered period be judged now; the schedule would do it a little later."""
    return [handoff.start(f"monitor/{model}", {"model": model}) for model in models]


@task(cache_policy=NO_CACHE)
def start_drills(models: list[str]) -> list[str]:
    """Start a training with shuffled labels for each model."""
    settings = {"reason": "fire drill: shuffled labels must be refused"}
    return [handoff.start(f"train/{model}", {"model": model, "drill": "shuffled_labels", "settings": settings}) for model in models]


@task(cache_policy=NO_CACHE)
def wait_until_settled(runs: list[str], models: list[str], timeout_seconds: float = 1800) -> None:
    """Wait until these runs have ended and no decision on these models is open."""
    here, deadline = Installation.of(), time.monotonic() + timeout_seconds
    for run in runs:
        handoff.wait(run, max(0.0, deadline - time.monotonic()))
    while any(open_decisions(here.ledger.read(), model) for model in models):
        if time.monotonic() > deadline:
            get_run_logger().warning("%s have not settled after %.0f s; going on", ", ".join(models), timeout_seconds)
            return
        time.sleep(0.5)  # the ledger has no subscription; half a second is short beside a training


def live_addresses(dataset: str, addresses: dict[str, str]) -> dict[str, str]:
    """Base URL of the endpoint of each of the dataset's models.

    Raises:
        ReleaseError: a model has no live version to send requests to.
    """
    here = Installation.of()
    names = [spec.name for spec in here.project.models_of(dataset)]
    for name in names:
        if name not in addresses or live(here.ledger.read(), name) is None:
            raise ReleaseError(name, "any", "no version is live, so a replay has nobody to ask; train it first")
    return {name: addresses[name] for name in names}


def report_replay(sent: list[Traffic]) -> State[Any]:
    """End the run with how many requests were sent and how many of them failed."""
    return Completed(message=f"{sum(each.requests for each in sent)} requests were sent, {sum(each.failed for each in sent)} failed.")
