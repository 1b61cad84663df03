"""What proposes to retrain besides monitoring: new batches and changed code, where the model's spec wants that.

Pure, and read from the ledger alone: whoever asks later finds the same, so a run that dies before it asked loses nothing.
"""

from tasks.ledger.chain import History
from tasks.ledger.questions import accepted, champion, newest_time, open_decisions, rows
from tasks.ledger.rows import ProposalRow, VersionRow
from tasks.spec import ModelSpec


def changes(history: History, spec: ModelSpec, code: str) -> list[ProposalRow]:
    """What has changed since the champion was made, each state of it once; nothing while a decision is open, or before there is a champion.

    Args:
        code: Digest of the folders of model and dataset as they are now.
    """
    ruler = champion(history, spec.name)
    if ruler is None or open_decisions(history, spec.name):
        return []
    proposed = {row.window for row in rows(history, ProposalRow, model=spec.name)}
    found = (_new_data(history, spec, ruler), _code_change(history, spec, ruler, code))
    return [proposal for proposal in found if proposal and proposal.window not in proposed]


def _new_data(history: History, spec: ModelSpec, ruler: VersionRow) -> ProposalRow | None:
    """The newest accepted batch, when it was recorded after the champion."""
    batches = accepted(history, spec.dataset)
    newest = max(batches, key=lambda batch: str(batch.recorded_at), default=None)
    if spec.triggers.new_data == "ignore" or newest is None or str(newest.recorded_at) <= str(ruler.recorded_at):
        return None
    reason = f"new data: batch {newest.batch} with {newest.rows:,} rows"
    return ProposalRow(model=spec.name, trigger="new_data", window=f"batch {newest.batch}", event_time=newest.end, reason=reason)


def _code_change(history: History, spec: ModelSpec, ruler: VersionRow, code: str) -> ProposalRow | None:
    """The folders, when they are no longer those that gave the champion."""
    if spec.triggers.code_change == "ignore" or ruler.code == code:
        return None
    reason = f"code change: the folders have digest {code[:12]}, the champion was made from {ruler.code[:12]}"
    return ProposalRow(model=spec.name, trigger="code_change", window=f"code {code[:12]}", event_time=newest_time(history, spec.dataset), reason=reason)
