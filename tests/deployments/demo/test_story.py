"""The demo may only call the loop closed when each part of its table happened. Here the ledger is written by hand, then spoilt."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from factories import version

from deployments.demo.story import Chapter, Span, claims, counts
from tasks.ledger.chain import Ledger
from tasks.ledger.rows import AlertRow, AnyRow, BatchRow, ClosedRow, DecisionRow, ReleaseRow, Trigger, WindowRow

MODEL = "flights_late"
Verdict = Literal["insufficient", "broken", "stable", "drift", "decay"]


def window(batch: str, verdict: Verdict) -> WindowRow:
    start = datetime(2013, int(batch[-2:]), 1, tzinfo=UTC)
    return WindowRow(model=MODEL, version="v", window=batch, start=start, end=start, rows=20_000, verdict=verdict, reason="as told", share=0.2)


def retraining(number: int, trigger: Trigger, accepted: bool, drill: Literal["none", "shuffled_labels"] = "none") -> list[AnyRow]:
    decision = f"{MODEL}-{number}"
    made = version(decision, accepted=accepted, name=f"v{number}").model_copy(update={"model": MODEL})
    live = [ReleaseRow(model=MODEL, release=f"r{number}", version=f"v{number}", step="live", reason="better", decision=decision)] if accepted else []
    decided = DecisionRow(model=MODEL, decision=decision, trigger=trigger, action="retrain", reason="why", proposal=1, drill=drill)
    return [decided, made, *live, ClosedRow(model=MODEL, decision=decision, outcome="promoted" if accepted else "refused", reason="why")]


def chapters() -> dict[Chapter, list[AnyRow]]:
    return {
        Chapter("stable", "2013-04", "none"): [window("2013-04", "stable")],
        Chapter("drift", "2013-05", "none"): [window("2013-05", "drift"), *retraining(2, "drift", accepted=True)],
        Chapter("concept change", "2013-06", "concept_change"): [window("2013-06", "decay"), *retraining(3, "decay", accepted=True)],
        Chapter("unit change", "2013-07", "unit_change"): [window("2013-07", "broken"), AlertRow(subject=MODEL, message="broken")],
        Chapter("shuffled labels", "2013-07", "shuffled_labels"): retraining(4, "on_demand", accepted=False, drill="shuffled_labels"),
    }


def played(tmp_path: Path, parts: dict[Chapter, list[AnyRow]]) -> tuple[Ledger, list[Span]]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path)
    ledger.append(BatchRow(dataset="flights", batch="2013-02", verdict="quarantined", reason="blizzard"), *retraining(1, "first", accepted=True))
    spans = []
    for chapter, rows in parts.items():
        before = ledger.read()[-1].seq
        ledger.append(*rows)
        spans.append(Span(chapter, ledger.read(), before, ledger.read()[-1].seq, 30.0))
    return ledger, spans


def failing(tmp_path: Path, parts: dict[Chapter, list[AnyRow]], failed_requests: int = 0) -> list[str]:
    ledger, spans = played(tmp_path, parts)
    return [claim.text for claim in claims(spans, ledger.read(), failed_requests) if not claim.holds]


def test_the_story_as_it_should_go_closes_the_loop(tmp_path: Path) -> None:
    ledger, spans = played(tmp_path, chapters())

    assert [claim for claim in claims(spans, ledger.read(), 0) if not claim.holds] == []
    assert counts(ledger.read()) == (2, 2), "the first training and the drill do not count"


@pytest.mark.parametrize(
    ("name", "instead", "complaint"),
    [
        ("stable", [window("2013-04", "drift")], "stable window"),
        ("drift", [window("2013-05", "stable"), *retraining(2, "drift", accepted=True)], "drift was found"),
        ("drift", [window("2013-05", "drift"), *retraining(2, "drift", accepted=False)], "better model went live"),
        ("drift", [window("2013-05", "drift")], "one retraining with one version"),
        ("concept change", [window("2013-06", "drift"), *retraining(3, "drift", accepted=True)], "decay was found"),
        ("unit change", [window("2013-07", "broken")], "raised an alert"),
        ("unit change", [window("2013-07", "broken"), AlertRow(subject=MODEL, message="x"), *retraining(9, "drift", accepted=False)], "no retraining"),
        ("shuffled labels", retraining(4, "on_demand", accepted=True), "refused by the gate"),
    ],
)
def test_a_part_that_went_otherwise_is_named(tmp_path: Path, name: str, instead: list[AnyRow], complaint: str) -> None:
    parts = {chapter: instead if chapter.name == name else rows for chapter, rows in chapters().items()}

    assert any(complaint in text for text in failing(tmp_path, parts))


def test_a_failed_request_or_a_decision_without_version_keeps_the_loop_open(tmp_path: Path) -> None:
    parts = chapters()
    first = next(iter(parts))
    parts[first] = [*parts[first], DecisionRow(model="flights_airtime", decision="a-1", trigger="decay", action="retrain", reason="why", proposal=1)]

    assert failing(tmp_path, parts, failed_requests=1) == ["each decision has exactly one version", "no request failed"]
