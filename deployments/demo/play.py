"""One demo on a running platform, wherever that is: chapters are replayed by flow runs, and the ledger is watched until each has come to rest."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from deployments.demo.story import DATASET, MODEL, Chapter, Claim, Span, counts, table
from tasks import handoff
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.questions import live, open_decisions, retrain_decisions, rows
from tasks.ledger.rows import BatchRow, ReleaseRow, VersionRow
from tasks.monitoring.segments import local_copy

CHAPTER_SECONDS = 900.0
SENT = re.compile(r"(\d+) requests were sent, (\d+) failed")  # how a replay run ends


@dataclass
class Demo:
    """A running demo: its installation, the address of the model that the story is about, and what was measured so far."""

    here: Installation
    console: Console
    address: Callable[[], str]
    requests: int
    spans: list[Span] = field(default_factory=list)
    sent: int = 0
    failed: int = 0
    drift_to_better: float | None = None

    def play(self, chapter: Chapter) -> None:
        """Start the replay of a chapter and watch the ledger until the loop has come to rest."""
        before = self.here.ledger.read()
        started, champion = time.time(), live(before, MODEL)
        self.console.print(f"{chapter.name}: replaying {chapter.batch}, fault: {chapter.fault}")
        parameters = {"dataset": DATASET, "batches": [chapter.batch], "requests": self.requests, "fault": chapter.fault}
        run = handoff.start(f"replay/{DATASET}", parameters)
        better = self._watch(run, champion.version if champion else "", chapter)
        self._count(handoff.state(run).message)
        history = self.here.ledger.read()
        self.spans.append(Span(chapter, history, before[-1].seq, history[-1].seq, time.time() - started))
        if chapter.name == "drift" and better:
            self.drift_to_better = better - self._first_request(chapter.batch, started)

    def _watch(self, run: str, champion: str, chapter: Chapter) -> float | None:
        """Wait for the replay run and, for a drill, its decision; returns when a new version first answered."""
        better, deadline = None, time.monotonic() + CHAPTER_SECONDS
        while time.monotonic() < deadline:
            history = self.here.ledger.read()
            release = live(history, MODEL)
            expected = release.version if release and release.version != champion else ""
            if expected and better is None:
                better = self._first_answer(expected, chapter.batch)
            if (better or not expected) and handoff.state(run).final and self._at_rest(history, chapter):
                return better
            time.sleep(0.2)  # the step between two looks at the ledger is part of the measured seconds
        raise PlatformError(f"chapter {chapter.name!r} of the demo did not come to rest within {CHAPTER_SECONDS:.0f} s", "See the runs in the Prefect UI")

    def _at_rest(self, history: History, chapter: Chapter) -> bool:
        models = self.here.project.models()
        if any(open_decisions(history, model) for model in models):
            return False
        drills = sum(d.drill != "none" for model in models for d in retrain_decisions(history, model))
        return chapter.fault != "shuffled_labels" or drills == len(models)

    def _count(self, message: str) -> None:
        if told := SENT.search(message):
            self.sent, self.failed = self.sent + int(told[1]), self.failed + int(told[2])

    def _first_answer(self, version: str, batch: str) -> float | None:
        """Ask the endpoint once; the wall time of the answer when it came from `version`. One that does not answer now is asked at the next look."""
        try:
            answer = httpx.post(f"{self.address()}/predict", json=sample(self.here, batch), headers=key(self.here), timeout=60).raise_for_status().json()
        except httpx.HTTPError:
            return None
        return time.time() if answer["version"] == version else None

    def _first_request(self, batch: str, since: float) -> float:
        """Wall time at which the first request of a window was answered, from the prediction log."""
        earliest = time.time()
        for path in (local_copy(self.here.settings, MODEL) / "predictions").glob("*.jsonl"):
            with path.open() as lines:
                for line in lines:
                    record = json.loads(line)
                    moment = datetime.fromisoformat(record["wall_time"]).timestamp()
                    if record["event_time"].startswith(batch) and moment >= since:
                        earliest = min(earliest, moment)
        return earliest

    def report(self, seconds: float, path: Path, found: list[Claim], more: Mapping[str, object]) -> int:
        """Print the table and the claims, write demo.json; the exit code is 0 when the loop closed."""
        history = self.here.ledger.read()
        shown = Table("batch", "fault", "window", "drift", "decision", "gate", "live after", "seconds")
        for row in table(self.spans, history):
            shown.add_row(*row)
        self.console.print(shown)
        for claim in found:
            self.console.print(f"{'✔' if claim.holds else '✘'} {claim.text}")
        closed = all(claim.holds for claim in found) and self.drift_to_better is not None
        decisions, retrainings = counts(history)
        content = {
            "closed": closed,
            "seconds_total": round(seconds, 1),
            "seconds_drift_to_better_answer": self.drift_to_better and round(self.drift_to_better, 1),
            "requests": self.sent,
            "failed_requests": self.failed,
            "decisions": decisions,
            "retrainings": retrainings,
            "batches": [{"dataset": b.dataset, "batch": b.batch, "verdict": b.verdict, "rows": b.rows, "reason": b.reason} for b in rows(history, BatchRow)],
            "releases": [
                {"model": r.model, "release": r.release, "version": r.version, "step": r.step, "seconds": r.seconds} for r in rows(history, ReleaseRow)
            ],
            "versions": [{"model": v.model, "version": v.version, "accepted": v.gate.accepted, "reasons": v.gate.reasons} for v in rows(history, VersionRow)],
            "claims": {claim.text: claim.holds for claim in found},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**content, **more}, indent=2) + "\n")
        self.console.print(f"{'the loop closed' if closed else 'the loop did NOT close'}; {path}")
        return 0 if closed else 1


def sample(here: Installation, batch: str) -> dict[str, list[dict[str, object]]]:
    """The model's sample request, its rows inside a window, so that the data's clock does not jump to today."""
    found: dict[str, list[dict[str, object]]] = json.loads((here.project.root / "bentos" / MODEL / "sample.json").read_text())
    for row in found["rows"]:
        row["event_time"] = f"{batch}-28T00:00:00Z"
    return found


def key(here: Installation) -> dict[str, str]:
    """Headers of a request to /predict."""
    secret = here.settings.predict_key.get_secret_value()
    return {"Authorization": f"Bearer {secret}"} if secret else {}
