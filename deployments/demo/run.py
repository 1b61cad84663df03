"""`make demo`: the loop from an empty state, driven only by flow runs; ends with a table and demo.json."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from deployments.demo.story import DATASET, MODEL, Chapter, Span, claims, counts, table
from tasks import handoff
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.ledger.questions import live, open_decisions, retrain_decisions, rows
from tasks.ledger.rows import BatchRow, ReleaseRow, VersionRow
from tasks.release.local import LocalTarget
from tasks.settings import Settings

STORY = (
    Chapter("stable", "2013-04", "none"),
    Chapter("drift", "2013-05", "none"),
    Chapter("concept change", "2013-06", "concept_change"),
    Chapter("unit change", "2013-07", "unit_change"),
    Chapter("shuffled labels", "2013-07", "shuffled_labels"),
)
REQUESTS = 20_000
START_SECONDS, CHAPTER_SECONDS = 600.0, 900.0


@dataclass
class Demo:
    """A running demo: its installation and what it has measured so far."""

    here: Installation
    console: Console
    spans: list[Span] = field(default_factory=list)
    drift_to_better: float | None = None

    def play(self, chapter: Chapter) -> None:
        """Start the replay of a chapter and watch the ledger until the loop has come to rest."""
        before = self.here.ledger.read()
        started, champion = time.time(), live(before, MODEL)
        self.console.print(f"{chapter.name}: replaying {chapter.batch}, fault: {chapter.fault}")
        parameters = {"dataset": DATASET, "batches": [chapter.batch], "requests": REQUESTS, "fault": chapter.fault}
        run = handoff.start(f"replay/{DATASET}", parameters)
        better = self._watch(run, champion.version if champion else "", chapter)
        history = self.here.ledger.read()
        self.spans.append(Span(chapter, history, before[-1].seq, history[-1].seq, time.time() - started))
        if chapter.name == "drift" and better:
            self.drift_to_better = better - first_request(self.here.settings, chapter.batch, started)

    def _watch(self, run: str, champion: str, chapter: Chapter) -> float | None:
        """Wait for the replay run and, for a drill, its decision; returns when a new version first answered."""
        better, deadline = None, time.monotonic() + CHAPTER_SECONDS
        while time.monotonic() < deadline:
            history = self.here.ledger.read()
            release = live(history, MODEL)
            if better is None and release and release.version != champion:
                better = first_answer(self.here.settings, release.version, chapter.batch)
            if handoff.state(run).final and self._at_rest(history, chapter):
                return better
            time.sleep(0.2)  # the step between two looks at the ledger is part of the measured seconds
        raise PlatformError(f"chapter {chapter.name!r} of the demo did not come to rest within {CHAPTER_SECONDS:.0f} s", "See the runs in the Prefect UI")

    def _at_rest(self, history: History, chapter: Chapter) -> bool:
        models = self.here.project.models()
        if any(open_decisions(history, model) for model in models):
            return False
        drills = sum(d.drill != "none" for model in models for d in retrain_decisions(history, model))
        return chapter.fault != "shuffled_labels" or drills == len(models)


def first_request(settings: Settings, batch: str, since: float) -> float:
    """Wall time at which the first request of a window was answered, from the prediction log."""
    earliest = time.time()
    for path in (settings.logs / MODEL / "predictions").glob("*.jsonl"):
        with path.open() as lines:
            for line in lines:
                record = json.loads(line)
                moment = datetime.fromisoformat(record["wall_time"]).timestamp()
                if record["event_time"].startswith(batch) and moment >= since:
                    earliest = min(earliest, moment)
    return earliest


def first_answer(settings: Settings, version: str, batch: str) -> float | None:
    """Ask the endpoint once; the wall time of the answer when it came from `version`."""
    port = LocalTarget(settings).status()[MODEL].port
    sample = json.loads((settings.project / "bentos" / MODEL / "sample.json").read_text())
    for row in sample["rows"]:
        row["event_time"] = f"{batch}-28T00:00:00Z"  # inside the window, so that the data's clock does not jump to today
    answer = httpx.post(f"http://{settings.host}:{port}/predict", json=sample, timeout=10).json()
    return time.time() if answer["version"] == version else None


def main(settings: Settings) -> int:
    """Run the demo in a home of its own beside the installation's; 0 when the loop closed."""
    console, started = Console(width=None if sys.stdout.isatty() else 130), time.time()
    home = settings.root / "demo"
    shutil.rmtree(home, ignore_errors=True)
    inside = settings.model_copy(update={"home": home})
    os.environ |= {"RATCHET_HOME": str(home), "PREFECT_API_URL": inside.api_url, "PREFECT_UI_URL": inside.ui_url}
    own = os.environ | {"RATCHET_PARENT": str(os.getpid())}  # should the demo be killed, its platform ends too
    platform = subprocess.Popen([sys.executable, "-m", "deployments.cli", "up"], env=own, start_new_session=True)
    try:
        demo = Demo(Installation.of(inside), console)
        _wait_for(lambda: _all_live(demo.here), platform, START_SECONDS, "both models to be live")
        for chapter in STORY:
            demo.play(chapter)
    finally:
        platform.send_signal(signal.SIGTERM)
        platform.wait(120)
    return report(demo, time.time() - started, settings.root / "demo.json")


def report(demo: Demo, seconds: float, path: Path) -> int:
    """Print the table and the claims, write demo.json; the exit code."""
    history = demo.here.ledger.read()
    requests, failed = _requests(demo.here.settings)
    shown = Table("batch", "fault", "window", "drift", "decision", "gate", "live after", "seconds")
    for row in table(demo.spans, history):
        shown.add_row(*row)
    demo.console.print(shown)
    found = claims(demo.spans, history, failed)
    for claim in found:
        demo.console.print(f"{'✔' if claim.holds else '✘'} {claim.text}")
    closed = all(claim.holds for claim in found) and demo.drift_to_better is not None
    decisions, retrainings = counts(history)
    content = {
        "closed": closed,
        "seconds_total": round(seconds, 1),
        "seconds_drift_to_better_answer": demo.drift_to_better and round(demo.drift_to_better, 1),
        "requests": requests,
        "failed_requests": failed,
        "decisions": decisions,
        "retrainings": retrainings,
        "batches": [{"dataset": b.dataset, "batch": b.batch, "verdict": b.verdict, "rows": b.rows, "reason": b.reason} for b in rows(history, BatchRow)],
        "releases": [{"model": r.model, "release": r.release, "version": r.version, "step": r.step, "seconds": r.seconds} for r in rows(history, ReleaseRow)],
        "versions": [{"model": v.model, "version": v.version, "accepted": v.gate.accepted, "reasons": v.gate.reasons} for v in rows(history, VersionRow)],
        "claims": {claim.text: claim.holds for claim in found},
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    demo.console.print(f"{'the loop closed' if closed else 'the loop did NOT close'}; {path}")
    return 0 if closed else 1


def _requests(settings: Settings) -> tuple[int, int]:
    """(sent, failed) over every replay, from the files that the replays wrote."""
    import pyarrow.parquet as pq

    ids = [pq.read_table(path, columns=["id"])["id"].to_pylist() for path in settings.inbox.glob("*/*.sent.parquet")]
    return sum(map(len, ids)), sum(not i for part in ids for i in part)


def _all_live(here: Installation) -> bool:
    history = here.ledger.read()
    return all(live(history, model) for model in here.project.models())


def _wait_for(true: Callable[[], bool], platform: "subprocess.Popen[bytes]", seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if platform.poll() is not None:
            raise PlatformError(f"`ratchet up` ended with code {platform.returncode} while the demo waited for {what}", "Its output above says why")
        if time.monotonic() > deadline:
            raise PlatformError(f"the demo waited {seconds:.0f} s for {what}", "See the runs in the Prefect UI")
        time.sleep(0.5)
