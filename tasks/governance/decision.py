"""The decision engine: a trigger only proposes, this decides. Pure rules first, then the one transaction that records both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.ledger.chain import Entry, History, Ledger
from tasks.ledger.questions import champion, newest_time, open_decisions, retrain_decisions
from tasks.ledger.rows import AnyRow, AttemptRow, DecisionRow, ProposalRow
from tasks.spec import ModelSpec

BY_PERSON = {"first", "on_demand", "new_settings"}  # a person or the installer asked: cooldown and budget guard against machines


@dataclass(frozen=True)
class Weighed:
    """What the engine makes of a proposal, and why."""

    retrain: bool
    reason: str


def weigh(proposal: ProposalRow, history: History, spec: ModelSpec) -> Weighed:
    """Decide on a proposal: deduplication, one at a time, something to learn from, cooldown, daily budget, in this order.

    K-of-N is part of the finding itself. Drift and decay without newer rows are decided and wait for them.
    """
    earlier = retrain_decisions(history, spec.name)
    same = [d for d in earlier if proposal.window and d.window == proposal.window]
    if same:
        return Weighed(False, f"window {proposal.window} has led to decision {same[-1].decision} already")
    if still := open_decisions(history, spec.name):
        return Weighed(False, f"decision {still[-1].decision} is still open, and there is one at a time")
    if proposal.trigger in BY_PERSON:
        return Weighed(True, proposal.reason)
    if proposal.trigger == "schedule" and not _newer_rows(history, spec):
        return Weighed(False, "no rows are newer than those the champion has seen; the schedule comes round again")
    return _within_limits(proposal, earlier, spec)


def _within_limits(proposal: ProposalRow, earlier: list[DecisionRow], spec: ModelSpec) -> Weighed:
    """Cooldown and budget by the data's clock; a proposal without event time cannot be placed on it and is let through once a day at most by its window."""
    now, limits = proposal.event_time, spec.triggers
    times = [d.event_time for d in earlier if d.event_time]
    if now and times and now - max(times) < timedelta(days=limits.cooldown_days):
        return Weighed(False, f"the last decision is of {max(times):%Y-%m-%d %H:%M}, and the cooldown is {limits.cooldown_days:g} days")
    if now and sum(_same_day(time, now) for time in times) >= limits.daily_budget:
        return Weighed(False, f"the budget of {limits.daily_budget} decisions on {now:%Y-%m-%d} is spent")
    return Weighed(True, proposal.reason)


def _newer_rows(history: History, spec: ModelSpec) -> bool:
    ruler, newest = champion(history, spec.name), newest_time(history, spec.dataset)
    return newest is not None and (ruler is None or newest > ruler.seen_until)


def _same_day(one: datetime, other: datetime) -> bool:
    return one.date() == other.date()


def propose(ledger: Ledger, spec: ModelSpec, proposal: ProposalRow, lease_until: datetime | None = None) -> DecisionRow:
    """Record a proposal and the decision on it; see `record`."""
    [decided] = [entry.row for entry in record(ledger, spec, [proposal], lease_until) if isinstance(entry.row, DecisionRow)]
    return decided


def record(ledger: Ledger, spec: ModelSpec, rows: Sequence[AnyRow], lease_until: datetime | None = None) -> list[Entry]:
    """Append rows and, behind each proposal among them, the decision on it. All in one transaction.

    So two proposals never both win, and a run that is killed cannot have recorded a finding without what follows from it.

    Args:
        lease_until: The proposing run itself takes the first attempt until then; nobody else ever finds the decision without one.
    """

    def decide(history: History) -> list[AnyRow]:
        added: list[AnyRow] = []
        first = history[-1].seq + 1 if history else 1
        for row in rows:
            added.append(row)
            if isinstance(row, ProposalRow):
                so_far = [*history, *(Entry(first + place, "", each) for place, each in enumerate(added[:-1]))]
                decided = _decision(row, first + len(added) - 1, weigh(row, so_far, spec))
                added.append(decided)
                if lease_until and decided.action == "retrain":
                    added.append(AttemptRow(model=spec.name, decision=decided.decision, run=row.run, attempt=1, lease_until=lease_until))
        return added

    return ledger.transact(decide)


def _decision(proposal: ProposalRow, seq: int, weighed: Weighed) -> DecisionRow:
    return DecisionRow(
        actor=proposal.actor,
        run=proposal.run,
        decision=f"{proposal.model}-{seq}" if weighed.retrain else "",
        event_time=proposal.event_time,
        model=proposal.model,
        trigger=proposal.trigger,
        window=proposal.window,
        action="retrain" if weighed.retrain else "ignore",
        reason=weighed.reason,
        proposal=seq,
        settings=proposal.settings,
        drill=proposal.drill,
    )
