"""`ratchet why ID`: from an effect back to its cause: answer, release, version, gate, data, code, decision, proposal."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from bentos.runtime.lines import PredictionLine
from deployments.commands.answered import find, unknown
from deployments.commands.console import JsonOption, columns, history, settings, show, utc
from tasks.errors import RatchetError, UnknownNameError
from tasks.ledger import answers
from tasks.ledger.rows import WaiverRow
from tasks.settings import Settings


def why(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of an answered row, a decision, a version or a release.")], as_json: JsonOption = False
) -> None:
    """What led to an answer, a decision, a version or a release: data, code, gate, decision, release."""
    found = settings()
    explanation = _explain(found, name)
    batches = _batches(found, explanation)
    approvals = answers.approvals(history(found), batches.values())
    told = explanation.model_dump(mode="json") | {"batches": list(batches), "approvals": [row.model_dump(mode="json") for row in approvals]}
    show(told, as_json, columns([list(pair) for pair in _told(explanation, batches, approvals)]))


def _explain(found: Settings, name: str) -> answers.Explanation:
    """Ask the ledger first: the logs may have to be fetched."""
    past = history(found)
    try:
        return answers.explain(past, name)
    except UnknownNameError as err:
        from tasks.monitoring.segments import local_copy

        line = find(local_copy(found), name)
        if line is None:
            raise unknown("answered row, decision, version or release", name, "ledger", found, datetime.now(UTC)) from err
    return answers.explain(past, line.id, line)


def _batches(found: Settings, explanation: answers.Explanation) -> dict[str, str]:
    """The batches a version was trained on and the references of their bytes, from its snapshot; none when the store cannot give it."""
    if explanation.version is None:
        return {}
    from tasks.store import Ref, Store

    try:
        content = json.loads(Store.of(found).get(Ref.parse(explanation.version.snapshot)))
    except (RatchetError, ValueError):
        return {}
    return {batch["batch"]: batch["ref"] for batch in content["batches"]}


def _told(e: answers.Explanation, batches: Collection[str], approvals: Sequence[WaiverRow]) -> list[tuple[str, str]]:
    """The explanation as pairs of a word and a sentence, from the effect back to its cause."""
    told = [(e.kind, f"{e.id} of {e.model}")]
    told += _answered(e.prediction) if e.prediction else []
    told += [("release", f"{r.release} {r.step} {utc(r.recorded_at)} by {r.actor}: {r.reason}") for r in e.releases]
    if version := e.version:
        commit = version.commit
        told += [
            ("version", f"{version.version}, {version.family} in {version.format} ({version.parity})"),
            ("gate", f"{'accepted' if version.gate.accepted else 'refused'}: {answers.gate_sentence(version.gate)}"),
            (
                "data",
                f"{version.rows:,} rows up to {utc(version.cutoff)}"
                + (f", batches {', '.join(batches)}" if batches else "")
                + f", snapshot {version.snapshot}",
            ),
            ("code", f"{version.code}" + (f", commit {commit.sha}{'' if commit.clean else ' with changes'} by {commit.author}" if commit else "")),
            ("lock", version.lock or "none"),
        ]
        waived = [("approval", f"{utc(row.recorded_at)} {answers.sentence(row)}") for row in approvals]
        told += waived or [("approval", "none was asked for: no batch was waived, and the gate decided")]
    told += [("decision", f"{utc(e.decision.recorded_at)} {answers.sentence(e.decision)}")] if e.decision else []
    told += [("window", answers.sentence(e.window))] if e.window else []
    told += [("proposal", f"{utc(e.proposal.recorded_at)} by {e.proposal.actor}: {answers.sentence(e.proposal)}")] if e.proposal else []
    told += [("closed", f"{utc(e.closed.recorded_at)} {e.closed.outcome}: {e.closed.reason}")] if e.closed else []
    return told


def _answered(line: PredictionLine) -> list[tuple[str, str]]:
    row = ", ".join(f"{name}={value}" for name, value in line.row.items())
    flags = f", flagged {', '.join(line.flags)}" if line.flags else ""
    return [("answer", f"{line.prediction} (score {line.score}{flags}) at {line.wall_time} as {line.role}, event time {line.event_time}"), ("row", row)]
