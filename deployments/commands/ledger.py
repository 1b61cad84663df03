"""Questions to the ledger. They only read, so they work while the platform is down, and import neither Prefect nor pandas."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.commands.console import JsonOption, columns, history, ledger_exists, settings, show, utc
from tasks.ledger import answers, questions
from tasks.ledger.chain import GENESIS, Ledger
from tasks.ledger.rows import VersionRow
from tasks.project import Project

Cells = dict[str, str | int]
Model = Annotated[str, typer.Argument(help="Name of a folder in bentos/.")]


def show_history(model: Model, as_json: JsonOption = False) -> None:
    """Everything the ledger holds about a model and its dataset, oldest first."""
    found = settings()
    entries = answers.history_of(history(found), Project.of(found).model(model))
    lines = [[str(e.seq), utc(e.row.recorded_at), e.row.kind, e.row.actor, answers.sentence(e.row)] for e in entries]
    text = columns(lines) if lines else f"The ledger holds nothing about {model} yet."
    show([{"seq": e.seq, "hash": e.hash, "sentence": answers.sentence(e.row), **e.row.model_dump(mode="json")} for e in entries], as_json, text)


def show_live(
    model: Model, at: Annotated[str, typer.Option(help="Moment of wall time, ISO 8601; without a zone UTC.")] = "", as_json: JsonOption = False
) -> None:
    """Which version answers, or answered at a moment, and why."""
    found = settings()
    Project.of(found).model(model)
    entries = history(found)
    release = questions.live(entries, model, moment(at) if at else None)
    if release is None:
        show(None, as_json, f"No version of {model} {'was' if at else 'is'} live{f' at {at}' if at else ''}.")
        return
    why = answers.why_live(entries, release)
    text = columns([["version", release.version], ["release", release.release], ["live since", utc(release.recorded_at)], ["by", release.actor], ["why", why]])
    show(release.model_dump(mode="json") | {"why": why}, as_json, text)


def verify(head: Annotated[str, typer.Option(help="A head hash noted earlier: a tail removed since is noticed.")] = "", as_json: JsonOption = False) -> None:
    """Recompute every hash of the ledger; names the row that does not hold."""
    found = settings()
    rows = Ledger.of(found).verify(head) if ledger_exists(found) or head else 0
    newest = Ledger.of(found).head() if rows else GENESIS
    show({"rows": rows, "head": newest}, as_json, f"The ledger holds: {rows} rows, head {newest}")


def models(as_json: JsonOption = False) -> None:
    """Every model folder: task, dataset, gate, features, and the version that is live."""
    found = settings()
    project, entries = Project.of(found), history(found)
    rows: list[Cells] = []
    for spec in map(project.model, project.models()):
        release = questions.live(entries, spec.name)
        facts: Cells = {"model": spec.name, "task": spec.task, "dataset": spec.dataset, "metric": spec.gate.metric, "features": len(spec.features)}
        versions = len(questions.rows(entries, VersionRow, model=spec.name))
        rows.append({**facts, "versions": versions, "live": release.version if release else "", "description": spec.description})
    _list(rows, as_json, f"There is no model in {project.root / 'bentos'}. `ratchet new` makes one.")


def datasets(as_json: JsonOption = False) -> None:
    """Every dataset folder: where it comes from, its batches, and the models it feeds."""
    found = settings()
    project, entries = Project.of(found), history(found)
    rows: list[Cells] = []
    for spec in map(project.dataset, project.datasets()):
        taken = questions.accepted(entries, spec.name)
        facts: Cells = {"dataset": spec.name, "source": spec.source or "source.py", "period": spec.period, "accepted": len(taken)}
        held = len(questions.quarantined(entries, spec.name))
        fed = ", ".join(model.name for model in project.models_of(spec.name))
        rows.append({**facts, "quarantined": held, "rows": sum(batch.rows for batch in taken), "models": fed})
    _list(rows, as_json, f"There is no dataset in {project.root / 'expectations'}. `ratchet new` makes one.")


def moment(text: str) -> datetime:
    """A moment from ISO 8601 text; without a zone it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 time such as 2026-01-31T12:00:00Z") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _list(rows: list[Cells], as_json: bool, none: str) -> None:
    show(rows, as_json, columns([list(rows[0]), *([str(value) for value in row.values()] for row in rows)]) if rows else none)
