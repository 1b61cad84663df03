"""What the demo replays, and what must be true of each part of it. Pure: the claims are read from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.ledger.chain import History
from tasks.ledger.questions import live, quarantined, retrain_decisions, rows, windows
from tasks.ledger.rows import AlertRow, BatchRow, DecisionRow, ReleaseRow, VersionRow, WindowRow
from tasks.replay.faults import Fault

DATASET, MODEL = "flights", "flights_late"
MACHINE_TRIGGERS = {"drift", "decay"}


@dataclass(frozen=True)
class Chapter:
    """One part of the demo: a month and what goes wrong in it."""

    name: Literal["stable", "drift", "unit change", "concept change", "shuffled labels"]
    batch: str
    fault: Fault


@dataclass(frozen=True)
class Span:
    """The part of the ledger that a chapter wrote."""

    chapter: Chapter
    history: History
    first_seq: int
    last_seq: int
    seconds: float

    @property
    def added(self) -> History:
        """Entries of this chapter only."""
        return [entry for entry in self.history if self.first_seq < entry.seq <= self.last_seq]

    def window(self) -> WindowRow | None:
        """The judged window of this chapter's month."""
        found = [w for w in windows(self.added, MODEL) if w.window == self.chapter.batch]
        return found[-1] if found else None

    def decisions(self) -> list[DecisionRow]:
        """Decisions to retrain that drift or decay led to in this chapter."""
        return [d for d in retrain_decisions(self.added, MODEL) if d.trigger in MACHINE_TRIGGERS]

    def versions(self) -> list[VersionRow]:
        """Versions registered in this chapter."""
        return rows(self.added, VersionRow, model=MODEL)

    def released(self) -> list[ReleaseRow]:
        """Releases that went live in this chapter."""
        return rows(self.added, ReleaseRow, model=MODEL, step="live")


@dataclass(frozen=True)
class Claim:
    """One thing the demo must show, and whether it did."""

    text: str
    holds: bool


def claims(spans: Sequence[Span], history: History, failed_requests: int) -> list[Claim]:
    """Everything that must have happened in the chapters that were played for the loop to be called closed."""
    found = [Claim("a batch was quarantined", bool(quarantined(history, DATASET)))]
    for span in spans:
        match span.chapter.name:
            case "stable":
                found.append(_claim_stable(span))
            case "drift":
                found += _claims_retrained(span, "drift")
            case "concept change":
                found += _claims_retrained(span, "decay")
            case "unit change":
                found += _claims_broken(span)
            case "shuffled labels":
                found += _claims_drill(span)
    return [*found, _claim_one_version_each(history), Claim("no request failed", failed_requests == 0)]


def _claim_stable(span: Span) -> Claim:
    window = span.window()
    return Claim(f"{span.chapter.batch}: a stable window led to no decision", bool(window and window.verdict == "stable") and not span.decisions())


def _claims_retrained(span: Span, verdict: Literal["drift", "decay"]) -> list[Claim]:
    """One retraining; if its gate accepted, that version went live, else the champion stayed."""
    window, decisions, versions, released = span.window(), span.decisions(), span.versions(), span.released()
    once = len(decisions) == 1 and len(versions) == 1 and versions[0].decision == decisions[0].decision
    followed = once and ([r.version for r in released] == ([versions[0].version] if versions[0].gate.accepted else []))
    return [
        Claim(f"{span.chapter.batch}: {verdict} was found", bool(window and window.verdict == verdict)),
        Claim(f"{span.chapter.batch}: {verdict} led to one retraining with one version", once),
        Claim(f"{span.chapter.batch}: what the gate said was done", followed),
        Claim(f"{span.chapter.batch}: the better model went live", bool(released)),
    ]


def _claims_broken(span: Span) -> list[Claim]:
    window, alerts = span.window(), rows(span.added, AlertRow, subject=MODEL)
    return [
        Claim(f"{span.chapter.batch}: the broken window failed its suite and raised an alert", bool(window and window.verdict == "broken" and alerts)),
        Claim(f"{span.chapter.batch}: it led to no retraining", not span.decisions() and not span.versions()),
    ]


def _claims_drill(span: Span) -> list[Claim]:
    versions = span.versions()
    champion = live(span.history, MODEL)
    before = live([e for e in span.history if e.seq <= span.first_seq], MODEL)
    kept = bool(champion and before and champion.release == before.release)
    return [
        Claim("shuffled labels were refused by the gate", len(versions) == 1 and not versions[0].gate.accepted),
        Claim("the champion went on answering", kept and not span.released()),
    ]


def _claim_one_version_each(history: History) -> Claim:
    counts = [len(rows(history, VersionRow, decision=d.decision)) for d in rows(history, DecisionRow, action="retrain")]
    return Claim("each decision has exactly one version", bool(counts) and set(counts) == {1})


def table(spans: Sequence[Span], history: History) -> list[list[str]]:
    """Rows of the closing table: batch, fault, verdict, drift, decision, gate, release, seconds."""
    first = [[b.batch, "", f"batch {b.verdict}", "", "", "", "", ""] for b in rows(history, BatchRow, dataset=DATASET) if b.batch < spans[0].chapter.batch]
    return first + [_table_row(span) for span in spans]


def _table_row(span: Span) -> list[str]:
    window, versions, released = span.window(), span.versions(), span.released()
    decided = retrain_decisions(span.added, MODEL)
    share = f"{window.share:.0%} of columns" if window and window.share is not None else ""
    gate = "" if not versions else ("accepted" if versions[0].gate.accepted else "refused")
    decision = f"{decided[0].trigger} → retrain" if decided else "none"
    return [
        span.chapter.batch,
        span.chapter.fault,
        window.verdict if window else "",
        share,
        decision,
        gate,
        released[-1].version if released else "",
        f"{span.seconds:.0f}",
    ]


def counts(history: History) -> tuple[int, int]:
    """(decisions, retrainings) that drift and decay led to; a retraining is a decision that gave a version."""
    ids = [d.decision for d in rows(history, DecisionRow, action="retrain") if d.trigger in MACHINE_TRIGGERS]
    return len(ids), sum(bool(rows(history, VersionRow, decision=i)) for i in ids)
