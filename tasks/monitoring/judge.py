"""What monitoring does for one model: every closed window of its live traffic is judged against the version that answered it."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import quote

import pandas as pd

from tasks.errors import StoreError
from tasks.ledger.chain import History
from tasks.ledger.questions import champion, rows, version, windows
from tasks.ledger.rows import Finding, ProposalRow, VersionRow, WindowRow
from tasks.monitoring import drift, page, performance, verdict
from tasks.monitoring.log import Logs, read
from tasks.monitoring.segments import local_copy
from tasks.monitoring.window import Window, closed, complete, watermark
from tasks.project import Project
from tasks.settings import Settings
from tasks.spec import ModelSpec
from tasks.store import Files, Ref, Store

Validate = Callable[[pd.DataFrame], tuple[bool, tuple[Finding, ...]]]


@dataclass(frozen=True)
class Judged:
    """A window's row for the ledger, what it proposes, what a person should hear of it (empty: nothing), and its page and card for the UI."""

    row: WindowRow
    proposal: ProposalRow | None
    alert: str
    page: str
    description: str
    report: str = ""  # its name in the folder of the long reports


def judge(spec: ModelSpec, settings: Settings, store: Store, history: History, validate_rows: Validate) -> list[Judged]:
    """Judge the windows that have closed since the last time, oldest first. Each is judged with the verdicts on the earlier ones in mind.

    Args:
        validate_rows: Holds feature columns and `prediction` of served rows against their suite; says whether they are blocked, and the findings.

    Raises:
        UnknownNameError: the log names a version that the ledger does not know. StoreError: its reference is missing.
    """
    live = champion(history, spec.name)
    if live is None:
        return []
    delay = timedelta(days=Project.of(settings).dataset(spec.dataset).label_delay_days)
    before = {row.window: row for row in windows(history, spec.name)}
    logs = read(local_copy(settings, spec.name), spec, delay, [name for name, row in before.items() if row.final])
    proposed = {(row.trigger, row.window) for row in rows(history, ProposalRow, model=spec.name)}
    done: list[Judged] = []
    for window in closed(logs, spec.monitoring.window, delay, before.values()):
        earlier = [*before.values(), *(each.row for each in done)]
        served = _served(window, logs, history, spec, delay)
        facts = _facts(served, spec, store, validate_rows)
        report = _write(facts.drift, f"{spec.name}/{window.name}-{facts.version}.html", Files(settings.report_folder))
        row = verdict.judge_window(facts, spec, str(store.put(facts.drift.html, ".html")) if facts.drift and report else "")
        done.append(
            Judged(
                row=row,
                proposal=verdict.proposal(row, earlier, spec, live.version, proposed),
                alert=verdict.alert(row, spec),
                page=page.markdown(row, earlier, spec, page.Evidence(facts.drift, _url(report, settings), logs.unreadable, logs.unknown)),
                description=page.description(row, earlier, spec),
                report=report,
            )
        )
    return done


@dataclass(frozen=True)
class Served:
    """The rows of a window that the version which answered most of them answered. `features` are those that the log holds as they were sent."""

    window: Window
    version: VersionRow
    answers: pd.DataFrame
    features: pd.DataFrame
    others: int
    complete: bool
    logs: Logs

    @property
    def current(self) -> pd.DataFrame:
        """Feature columns and `prediction`, as they are validated and compared."""
        return self.features.assign(prediction=self.answers["prediction"])


def _served(window: Window, logs: Logs, history: History, spec: ModelSpec, label_delay: timedelta) -> Served:
    rows_of = logs.answers[logs.answers["window"] == window.name]
    name = str(rows_of["version"].value_counts().sort_index(ascending=False, kind="stable").idxmax())
    answers = rows_of[rows_of["version"] == name]
    whole = complete(window, rows_of, watermark(logs.newest), label_delay)
    features = logs.features.loc[answers.index, [*spec.contract.logged]]
    return Served(window, version(history, spec.name, name), answers, features, len(rows_of) - len(answers), whole, logs)


def _facts(served: Served, spec: ModelSpec, store: Store, validate_rows: Validate) -> verdict.Facts:
    """Suite, performance and drift, each only when the one before leaves something to judge."""
    answers, labelled = served.answers, int(served.answers["label"].notna().sum())
    facts = verdict.Facts(served.window, served.version.version, len(answers), labelled, watermark(served.logs.newest), served.others)
    if len(answers) < spec.monitoring.min_rows:
        return facts
    blocked, findings = validate_rows(served.current)
    facts = replace(facts, blocked=blocked, findings=findings)
    if blocked:
        return facts
    measured = performance.judge(answers, spec, served.version.holdout_score) if served.complete else None
    title = f"{spec.name} {served.window.name}"
    found = drift.report(_reference(served.version, store), served.current, served.version.thresholds, spec.contract, spec.monitoring, title, spec.seed)
    return replace(facts, drift=found, performance=measured)


def _reference(of: VersionRow, store: Store) -> pd.DataFrame:
    if not of.reference:
        raise StoreError(f"reference rows of version {of.version!r}", "were never kept, so drift of its windows cannot be judged")
    return pd.read_parquet(io.BytesIO(store.get(Ref.parse(of.reference))))


def _url(report: str, settings: Settings) -> str:
    """Where the report server shows a file of the reports folder."""
    return f"{settings.reports_server_url.rstrip('/')}/{quote(report)}" if report else ""


def _write(found: drift.Drift | None, name: str, reports: Files) -> str:
    """Put Evidently's report where the report server shows it, and its numbers beside it."""
    if found is None or not found.html:
        return ""
    reports.write(name, found.html)
    reports.write(name.removesuffix(".html") + ".json", found.json.encode())
    return name
