"""A project of two models, shared by the tests of the platform and the command line.

Its flows only write the ledger rows that real ones would: quick, without data or models.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from ports import free_ports

DATASET = 'description = "Flights"\nperiod = "month"\nfirst = ["2013-01", "2013-02"]\ntime = "time_hour"\n'
MODEL = """
description = "How late?"
dataset = "flights"
task = "regression"
[label]
column = "delay"
[features]
distance = { type = "number" }
[gate]
metric = "mae"
"""
HEAD = """
import time
from datetime import UTC, datetime
from prefect import flow
from prefect.runtime import flow_run
from tasks import handoff
from tasks.installation import Installation
from tasks.ledger.questions import live, previous, rows
from tasks.ledger.rows import (
    AttemptRow, BatchRow, ClosedRow, DecisionRow, GateResult, ProposalRow, ReleaseRow, Trigger, VersionRow, WaiverRow,
)
"""
FLOWS = {
    "ingest": """
@flow
def ingest(dataset: str, batches: list[str] | None = None, uri: str = "") -> None:
    for batch in batches or []:
        end = datetime(2013, int(batch[-2:]), 28, tzinfo=UTC)
        held = batch == "2013-02"
        row = BatchRow(dataset=dataset, batch=batch, verdict="quarantined" if held else "accepted", reason="a blizzard" if held else "")
        Installation.of().ledger.append(row.model_copy(update={"rows": 10, "start": end, "end": end, "ref": f"sha256:{batch}"}))
""",
    "waive": """
@flow
def waive(dataset: str, batch: str, approver: str, reason: str) -> None:
    Installation.of().ledger.append(WaiverRow(dataset=dataset, batch=batch, ref=f"sha256:{batch}", actor=approver, reason=reason))
""",
    "train": """
@flow
def train(model: str, trigger: Trigger = "on_demand", decision: str = "", attempt: int = 0, drill: str = "none") -> None:
    ledger, run, time_ = Installation.of().ledger, str(flow_run.id), datetime(2013, 1, 28, tzinfo=UTC)
    seq = len(ledger.read()) + 1
    name, version = f"{model}-{seq}", f"20130128-{seq:08x}"
    accepted = drill == "none"
    gate = GateResult(accepted=accepted, reasons=("no gain",), metric="mae", rows=9, blocks=9, scores={"challenger": 1.0})
    ledger.append(
        ProposalRow(model=model, trigger=trigger, reason="asked", run=run),
        DecisionRow(model=model, decision=name, trigger=trigger, action="retrain", reason="asked", proposal=seq, run=run),
        AttemptRow(model=model, decision=name, attempt=1, lease_until=datetime.now(UTC), run=run),
        VersionRow(
            model=model, decision=name, version=version, attempt=1, cutoff=time_, seen_until=time_, snapshot="s", code="c", seed=7, family="linear",
            params={}, trials=1, rows=10, format="onnx", parity="equal", prediction_digest="p", artefact="a", holdout_score=1.0, gate=gate,
            python="3.11", cpu="x86", run=run,
        ),
    )
    if accepted:
        handoff.start(f"release/{model}", {"model": model, "version": version, "decision": name}, key=f"release:{name}:1")
    else:
        ledger.append(ClosedRow(model=model, decision=name, outcome="refused", reason="no gain", run=run))
""",
    "release": """
@flow
def release(model: str, version: str = "", decision: str = "", approver: str = "", reason: str = "") -> None:
    ledger = Installation.of().ledger
    history = ledger.read()
    now = live(history, model)
    version = previous(history, model) if version == "previous" else version or rows(history, VersionRow, model=model)[-1].version
    ledger.append(
        ReleaseRow(
            model=model, release=f"{model}-r{len(history)}", version=version, step="live", decision=decision, actor=approver or "ratchet",
            reason=reason or "better", previous=now.version if now else "", run=str(flow_run.id),
        )
    )
    if decision:
        ledger.append(ClosedRow(model=model, decision=decision, outcome="promoted", reason="it answers", run=str(flow_run.id)))
""",
    "monitor": """
@flow
def monitor(model: str) -> None: ...
""",
    "score": """
@flow
def score(model: str, source: str, target: str, raw: bool = False) -> None: ...
""",
    "reconcile": """
@flow
def reconcile() -> None: ...
""",
    "replay": '''
@flow
def replay(dataset: str, seconds: float = 0) -> None:
    """Replay.

    Args:
        dataset: Which.
        seconds: How long it takes.
    """
    time.sleep(seconds)
''',
}


@dataclass(frozen=True)
class Place:
    """A project folder, its home, and the environment that its commands run in."""

    project: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def add_model(self, name: str, text: str = MODEL) -> None:
        folder = self.project / "bentos" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(text)


def make_place(folder: Path) -> Place:
    """The project with models `air` and `late`, and on the import path the flows that stand in for the real ones."""
    first = free_ports(6)
    place = Place(
        folder / "project",
        folder / "home",
        {
            "RATCHET_PROJECT": str(folder / "project"),
            "RATCHET_HOME": str(folder / "home"),
            "RATCHET_UI_PORT": str(first),
            "RATCHET_REPORTS_PORT": str(first + 1),
            "RATCHET_ENDPOINT_PORT": str(first + 2),
            "PYTHONPATH": str(folder / "standins"),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        },
    )
    place.add_model("late")
    place.add_model("air")
    (place.project / "expectations" / "flights").mkdir(parents=True)
    (place.project / "expectations" / "flights" / "dataset.toml").write_text(DATASET)
    flows = folder / "standins" / "flows"
    flows.mkdir(parents=True)
    (flows / "__init__.py").touch()
    for name, text in FLOWS.items():
        (flows / f"{name}.py").write_text(HEAD + text)
    return place
