"""What proposes to retrain besides monitoring: new batches and changed code, where the model's spec wants that. Pure."""

from collections.abc import Sequence

from tasks.ledger.chain import History
from tasks.ledger.questions import champion, newest_time, open_decisions, rows
from tasks.ledger.rows import BatchRow, ProposalRow
from tasks.spec import ModelSpec


def new_data(spec: ModelSpec, taken: Sequence[BatchRow]) -> ProposalRow | None:
    """A proposal for the newest of the batches that were just accepted."""
    accepted = [batch for batch in taken if batch.verdict == "accepted"]
    if spec.triggers.new_data == "ignore" or not accepted:
        return None
    newest = accepted[-1]
    reason = f"new data: batch {newest.batch} with {newest.rows:,} rows"
    return ProposalRow(model=spec.name, trigger="new_data", window=f"batch {newest.batch}", event_time=newest.end, reason=reason)


def code_change(history: History, spec: ModelSpec, code: str) -> ProposalRow | None:
    """A proposal when the folders of model and dataset are no longer those that gave the champion; each state of them proposes once.

    Args:
        code: Digest of the folders as they are now.
    """
    ruler, window = champion(history, spec.name), f"code {code[:12]}"
    if spec.triggers.code_change == "ignore" or ruler is None or ruler.code == code or open_decisions(history, spec.name):
        return None
    if rows(history, ProposalRow, model=spec.name, trigger="code_change", window=window):
        return None
    reason = f"code change: the folders have digest {code[:12]}, the champion was made from {ruler.code[:12]}"
    return ProposalRow(model=spec.name, trigger="code_change", window=window, event_time=newest_time(history, spec.dataset), reason=reason)
