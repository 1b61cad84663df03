"""`ratchet explain ID`: an answered row again, step by step, and whether today's replay equals what was answered."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.answered import find, unknown
from deployments.commands.console import JsonOption, columns, history, settings, show
from tasks.errors import SpecError
from tasks.hash_key import known_hash_key
from tasks.ledger.questions import version

if TYPE_CHECKING:
    from tasks.explain.answer import Replayed
    from tasks.explain.contributions import Contribution, Contributions
    from tasks.explain.steps import Step

WIDE = 24  # columns after a step; of more, only those that are not zero are printed


def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of an answered row.")],
    row_file: Annotated[
        Path | None, typer.Option("--row", metavar="FILE", help="JSON object with the features that the log withholds, as they were sent.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay an answered row through its version's training-side pipeline. Exit code 0: the same score; 1: another one.

    It opens the version's pickled pipeline, here and nowhere else, after its bytes were held against the digest in the ledger.
    """
    from tasks.monitoring.segments import local_copy

    found = settings()
    line = find(local_copy(found), name)
    if line is None:
        raise unknown("answered row", name, "log", found, datetime.now(UTC))
    row = version(history(found), line.model, line.version)
    from tasks.explain.answer import replayed
    from tasks.project import Project
    from tasks.store import Store

    Project.of(found)  # the pickle may name the author's own code, which imports from this project
    replay = replayed(line, row, Store.of(found), _given(row_file), known_hash_key(found))
    show(replay, as_json, "\n".join(_told(replay)))
    raise typer.Exit(0 if replay.equal else 1)


def _given(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        given = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise SpecError(path, [f"is no JSON object: {type(err).__name__}"]) from None  # the message may hold a value
    if not isinstance(given, dict):
        raise SpecError(path, ["is no JSON object"])
    return given


def _told(replay: "Replayed") -> list[str]:
    lines = [["answer", f"{replay.id} of {replay.model} {replay.version}"]]
    lines += [["row", _values(replay.row)]]
    lines += [["missing", f"the log does not hold {', '.join(replay.missing)}; null stood for them"]] if replay.missing else []
    lines += [["step", f"{step.name} ({step.kind}): {_after(step)}"] for step in replay.steps]
    lines += [["answered", _number(replay.answered)]]
    lines += [["pipeline", f"{_number(replay.pipeline)} today, {replay.pipeline_off:.2g} off"]]
    lines += [["served", f"{_number(replay.served)} today by the {replay.format} model, {replay.served_off:.2g} off"]]
    verdict = "equals" if replay.equal else "does NOT equal"
    lines += [["verdict", f"today's replay {verdict} what was answered (allowed: {replay.allowed:g} of the score's scale)"]]
    return [columns(lines), *_moved(replay.contributions)]


def _moved(found: "Contributions") -> list[str]:
    from tasks.explain.contributions import METHODS

    told = [f"\ncontributions to {found.of}: {METHODS[found.method]}"]
    rows = [["intercept", f"{found.intercept:+.6g}", ""]] if found.intercept is not None else []
    rows += [[each.name, f"{each.amount:+.6g}", _beside(each, found.method)] for each in found.each]
    return [*told, columns(rows)] if rows else told


def _beside(each: "Contribution", method: str) -> str:
    return f"{each.value} instead of {each.reference}" if method == "replacement" else f"at {each.value:.6g}"


def _after(step: "Step") -> str:
    if len(step.values) <= WIDE:
        return _values(step.values)
    kept = {name: value for name, value in step.values.items() if value != 0}
    return f"{_values(kept)}; {len(step.values) - len(kept)} others are 0"


def _values(row: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_number(value) if isinstance(value, float) else value}" for name, value in row.items())


def _number(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_number, value))}]"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
