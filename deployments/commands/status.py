"""`ratchet status`: what is live, how it does, how it is served, and what waits for a person."""

from datetime import UTC, datetime
from typing import Any

from deployments.commands.console import JsonOption, columns, history, settings, show, utc
from tasks.errors import PlatformError
from tasks.ledger import answers
from tasks.ledger.chain import GENESIS, Entry
from tasks.ledger.questions import rows
from tasks.ledger.rows import VersionRow
from tasks.project import Project
from tasks.settings import Settings

Facts = dict[str, Any]


def status(as_json: JsonOption = False) -> None:
    """For each model what is live, since when, how it does, how it is served, and what waits for a person."""
    found = settings()
    project, entries = Project.of(found), history(found)
    statuses = [answers.status_of(entries, project.model(name), datetime.now(UTC)) for name in project.models()]
    running, served, addresses, problem = _serving(found, project)
    serving = {name: facts | {"format": _format(entries, name, facts["version"])} for name, facts in served.items()}
    head = entries[-1].hash if entries else GENESIS
    lines = [["model", "live", "since", "newest window", "endpoint"]]
    lines += [[s.model, s.version or "-", utc(s.since) or "-", f"{s.window} {s.verdict}".strip() or "-", addresses.get(s.model, "-")] for s in statuses]
    waiting = list(dict.fromkeys(text for s in statuses for text in s.waiting))
    text = "\n".join(
        [
            columns(lines) if statuses else f"There is no model in {project.root / 'bentos'}.",
            *(["", columns(_table(serving)), ""] if serving else []),
            *(f"fails      {name}: {facts['error']}" for name, facts in serving.items() if facts["error"]),
            *([f"serving    unknown: {problem}"] if problem else []),
            *(f"under way  {s.model}: {text}" for s in statuses for text in s.underway),
            *(f"waits      {text}" for text in waiting),
            f"platform   {f'up, UI at {found.ui_url}' if running else 'down'}",
            f"ledger     {len(entries)} rows, head {head}",
        ]
    )
    told = {"models": statuses, "endpoints": addresses, "serving": serving, "waiting": waiting, "up": running, "rows": len(entries), "head": head}
    show(told, as_json, text)


def _serving(found: Settings, project: Project) -> tuple[bool, dict[str, Facts], dict[str, str], str]:
    """Whether the platform is up, how each model is served, the address of each endpoint that answers, and why that is not known."""
    if found.target == "kubernetes":
        from deployments.kubernetes import serving

        addresses = serving.addresses(found, project)
        if not serving.is_up(found):
            return False, {}, addresses, ""
        try:
            return True, serving.served(found, project), addresses, ""
        except PlatformError as err:
            return True, {}, addresses, str(err)
    from deployments.local.checks import holder

    if holder(found.root) is None:
        return False, {}, {}, ""
    from deployments.local.serving import served

    facts = served(found)
    return True, facts, {name: each["address"] for name, each in facts.items() if each["state"] == "live"}, ""


def _format(entries: list[Entry], model: str, version: str) -> str:
    """`onnx` or `sklearn`, from the version's row; empty when the ledger does not hold it."""
    return next((str(row.format) for row in rows(entries, VersionRow, model=model, version=version)), "")


def _table(serving: dict[str, Facts]) -> list[list[str]]:
    """A header, and a line for each model; on one machine its processes, on a cluster its pods."""
    lines = [{"serving": name, "state": facts["state"], "format": facts["format"] or "-"} | _cells(facts) for name, facts in serving.items()]
    header = list(dict.fromkeys(word for line in lines for word in line))
    return [header, *([line.get(word, "-") for word in header] for line in lines)]


def _cells(facts: Facts) -> dict[str, str]:
    since = f"{datetime.fromisoformat(facts['since']).astimezone(UTC):%m-%d %H:%M}"
    told = {"restarts": str(facts["restarts"]), "since (UTC)": since}
    own = {"per model": facts.get("omp_threads") or "every core"}
    if "ready" in facts:
        return {"pods": f"{facts['ready']} of {facts['wanted']} ready", "each asks for": f"{facts['cpu']} cpu, {facts['memory']}"} | own | told
    if "processes" in facts:
        process = {"pid": str(facts["pid"]), "processes": str(facts["processes"]), "threads": str(facts["threads"])}
        told = process | own | {"memory": _size(facts["memory_bytes"])} | told
    return told | ({"log": _size(facts["log_bytes"])} if "log_bytes" in facts else {})


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
