"""Small named factories for ledger rows, shared by tests."""

from datetime import UTC, datetime

from tasks.ledger.rows import BatchRow, GateResult, ProposalRow, Trigger, VersionRow


def day(number: int) -> datetime:
    """A day of May 2013."""
    return datetime(2013, 5, number, tzinfo=UTC)


def proposal(trigger: Trigger = "drift", window: str = "", at: datetime | None = None) -> ProposalRow:
    return ProposalRow(model="late", trigger=trigger, window=window, event_time=at, reason="drift in 5 of 16 columns")


def batch(name: str, end: datetime) -> BatchRow:
    return BatchRow(dataset="flights", batch=name, verdict="accepted", rows=10, start=end, end=end, ref=f"sha256:{'0' * 64}.parquet")


def version(decision: str, attempt: int = 1, accepted: bool = True, seen_until: datetime = day(1), name: str = "20130501-aaaaaaaa") -> VersionRow:
    gate = GateResult(accepted=accepted, reasons=("gain 0.02 to 0.05",), metric="roc_auc", rows=900, blocks=10, scores={"challenger": 0.7})
    return VersionRow(
        model="late",
        decision=decision,
        version=name,
        attempt=attempt,
        cutoff=seen_until,
        seen_until=seen_until,
        snapshot="s",
        code="c",
        seed=7,
        family="boosting",
        params={},
        trials=3,
        rows=100,
        format="onnx",
        parity="equal",
        prediction_digest="p",
        artefact="a",
        holdout_score=0.7,
        gate=gate,
        python="3.11",
        cpu="x86",
    )
