"""What flows ask of monitoring: judge the closed windows, calibrate a new version, show the findings. Thin shells."""

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed

from tasks.artifact import publish
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.questions import windows
from tasks.ledger.rows import AlertRow, ProposalRow, WindowRow
from tasks.monitoring.drift import calibrate
from tasks.monitoring.events import emit_verdict
from tasks.monitoring.judge import Judged, Validate, judge
from tasks.monitoring.window import settled
from tasks.store import Ref


@task(cache_policy=NO_CACHE)
def judge_windows(model: str, validate_rows: Validate) -> list[Judged]:
    """Judge each window that has closed, record the verdicts and alerts, and tell Prefect's event feed."""
    here = Installation.of()
    spec = here.project.model(model)
    judged = judge(spec, here.settings, here.store, here.ledger.read(), validate_rows)
    for each in judged:
        row = each.row.model_copy(update={"run": flow_run.id or ""})
        alerts = [AlertRow(subject=model, message=each.alert, run=flow_run.id or "", event_time=row.event_time)] if each.alert else []
        if not here.ledger.transact(lambda history, row=row, alerts=alerts: [] if _known(history, row) else [row, *alerts]):  # type: ignore[misc]  # bound now
            continue
        emit_verdict(row)
        get_run_logger().info("window %s of %s: %s, %s", row.window, model, row.verdict, row.reason)
    return judged


def _known(history: History, row: WindowRow) -> bool:
    """True when another run has judged this window to the end meanwhile."""
    return any(settled(each) for each in windows(history, row.model) if each.window == row.window)


def proposals_of(judged: Sequence[Judged]) -> list[ProposalRow]:
    """What the judged windows propose."""
    return [each.proposal.model_copy(update={"run": flow_run.id or ""}) for each in judged if each.proposal]


@task(cache_policy=NO_CACHE)
def calibrate_drift(model: str, reference: Ref) -> dict[str, float]:
    """Drift threshold of each column, from blocks of the reference held against the rest of it."""
    here = Installation.of()
    spec = here.project.model(model)
    return calibrate(pd.read_parquet(io.BytesIO(here.store.get(reference))), spec.contract, spec.monitoring, spec.seed)


def report_windows(model: str, judged: Sequence[Judged]) -> State[Any]:
    """Show the newest judged window and end the run with its verdict."""
    if not judged:
        return Completed(message="No window has closed since the last time.")
    newest = judged[-1]
    publish(f"{model}-drift", newest.page, newest.description)
    return Completed(message="; ".join(f"{each.row.window}: {each.row.verdict}, {each.row.reason}" for each in judged)[:900])
