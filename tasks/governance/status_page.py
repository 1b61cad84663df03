"""The one page of the installation: for each model what is live, since when and why, how it does, and what waits for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.installation import Installation
from tasks.ledger.answers import ModelStatus, status_of
from tasks.ledger.chain import GENESIS, History

SIGN = {"stable": "🟢", "drift": "🟠", "decay": "🔴", "broken": "🔴", "insufficient": "⚪"}


@dataclass(frozen=True)
class Page:
    """Markdown of the page, and of its card: one sentence that says whether somebody is needed."""

    markdown: str
    description: str


def status_markdown(here: Installation, serving: Mapping[str, str] | None = None) -> Page:
    """The page of an installation as it stands; `serving` maps a model to the address of its endpoint."""
    now, history = datetime.now(UTC), here.ledger.read()
    statuses = [status_of(history, here.project.model(name), now) for name in here.project.models()]
    return page(statuses, history, serving or {}, now, here.settings.ui_url)


def page(statuses: Sequence[ModelStatus], history: History, serving: Mapping[str, str], now: datetime, ui_url: str) -> Page:
    """The page from its facts."""
    head = history[-1].hash if history else GENESIS
    waiting = list(dict.fromkeys(text for status in statuses for text in status.waiting))  # two models of one dataset wait for the same batch once
    lines = [
        f"### Status of {now:%Y-%m-%d %H:%M} UTC",
        "",
        "| model | live | since (UTC) | newest window |" + (" endpoint |" if serving else ""),
        "|---|---|---|---|" + ("---|" if serving else ""),
        *(_row(status, serving) for status in statuses),
        "",
        "#### Why these versions",
        *(f"- **{status.model}**: {_cell(status.why) or 'nothing is live yet'}" for status in statuses),
        "",
        "#### What waits for a person",
        *([f"- {text}" for text in waiting] or ["Nothing."]),
        *_waiving(statuses, ui_url),
        "",
        "#### Under way",
        *([f"- **{status.model}**: {text}" for status in statuses for text in status.underway] or ["Nothing."]),
        "",
        f"Ledger: {len(history):,} rows, head `{head}`. Keep a copy of the head elsewhere: `ratchet verify --head {head[:12]}…` then notices a removed tail.",
    ]
    return Page("\n".join(lines), _card(statuses, waiting))


def _row(status: ModelStatus, serving: Mapping[str, str]) -> str:
    since = f"{status.since:%Y-%m-%d %H:%M}" if status.since else ""
    window = f"{SIGN[status.verdict]} {status.window} {status.verdict}: {_cell(status.verdict_reason)}" if status.verdict else "none judged yet"
    endpoint = f" {serving.get(status.model, '')} |" if serving else ""
    return f"| {status.model} | {status.version or 'nothing yet'} | {since} | {window} |{endpoint}"


def _waiving(statuses: Sequence[ModelStatus], ui_url: str) -> list[str]:
    held = sorted({status.dataset for status in statuses if any("is quarantined" in text for text in status.waiting)})
    return ["", f"A quarantined batch is let in by the deployment `waive/<dataset>` ([deployments]({ui_url}/deployments))."] if held else []


def _card(statuses: Sequence[ModelStatus], waiting: Sequence[str]) -> str:
    live = sum(bool(status.version) for status in statuses)
    person = f"⚠️ {len(waiting)} wait for a person" if waiting else "✅ nothing waits for a person"
    return f"{person}; {live} of {len(statuses)} models live"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
