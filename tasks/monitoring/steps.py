"""What flows ask of monitoring: judge the closed windows, calibrate a new version, show the findings. Thin shells."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from tasks.artifact import publish
from tasks.installation import Installation
from tasks.ledger.rows import AlertRow, AnyRow
from tasks.monitoring import keeping
from tasks.monitoring.events import emit_verdict
from tasks.monitoring.judge import Judged, Validate, judge
from tasks.monitoring.thresholds import calibrate
from tasks.store import Ref


@task(cache_policy=NO_CACHE)
def judge_windows(model: str, validate_rows: Validate) -> list[Judged]:
    """Judge each window that has closed. Nothing is recorded here."""
    here = Installation.of()
    judged = judge(here.project.model(model), here.settings, here.store, here.ledger.read(), validate_rows)
    for each in judged:
        get_run_logger().info("window %s of %s: %s, %s", each.row.window, model, each.row.verdict, each.row.reason)
    return judged


@task(cache_policy=NO_CACHE)
def keep_log(model: str) -> None:
    """Merge and archive what waits in the log of a model, and delete what is older than its spec keeps."""
    here = Installation.of()
    done = keeping.keep_log(here.settings, model, timedelta(days=here.project.model(model).log.keep_days), datetime.now(UTC))
    if done != keeping.Kept():
        told = "log of %s: merged %d pieces, made %d archives, deleted %d that were too old"
        get_run_logger().info(told, model, done.merged, done.archived, done.expired)


def keep_logs(models: Sequence[str]) -> State[Any]:
    """Keep the log of each model, and end the run: as failed when one could not be kept, which keeps none of the others from it."""
    ended = {model: keep_log(model, return_state=True) for model in models}
    problems = [f"the log of {model} was not kept: {state.result(raise_on_failure=False)}" for model, state in ended.items() if not state.is_completed()]
    return (
        Failed(message=f"All else is done, but {'; '.join(problems)}"[:900])
        if problems
        else Completed(message="What was decided is under way, and the logs are kept.")
    )


def rows_of(judged: Sequence[Judged]) -> list[list[AnyRow]]:
    """For each window what the ledger must hold of it, all or none: the verdict, the alert, the proposal."""
    run = flow_run.id or ""
    return [
        [
            each.row.model_copy(update={"run": run}),
            *([AlertRow(subject=each.row.model, message=each.alert, run=run, event_time=each.row.event_time)] if each.alert else []),
            *([each.proposal.model_copy(update={"run": run})] if each.proposal else []),
        ]
        for each in judged
    ]


@task(cache_policy=NO_CACHE)
def calibrate_drift(model: str, reference: Ref) -> dict[str, float]:
    """Drift threshold of each column, from blocks of the reference held against the rest of it."""
    here = Installation.of()
    spec = here.project.model(model)
    return calibrate(pd.read_parquet(io.BytesIO(here.store.get(reference))), spec.contract, spec.monitoring, spec.seed)


def report_windows(model: str, judged: Sequence[Judged]) -> State[Any]:
    """Show the newest judged window, tell the event feed of each, and end the run with their verdicts."""
    if not judged:
        return Completed(message="No window has closed since the last time.")
    for each in judged:
        emit_verdict(each.row)
    newest = judged[-1]
    publish(f"{model}-drift", newest.page, newest.description)
    return Completed(message="; ".join(f"{each.row.window}: {each.row.verdict}, {each.row.reason}" for each in judged)[:900])
