"""The trail of verdicts in Prefect's event feed. The ledger is the record; events are kept for a week."""

from tasks.ledger.rows import WindowRow


def emit_verdict(row: WindowRow) -> None:
    """Emit `ratchet.window.<verdict>`; the message stands in the resource's name, because that is what the feed shows."""
    from prefect.events import emit_event

    emit_event(
        f"ratchet.window.{row.verdict}",
        resource={"prefect.resource.id": f"ratchet.model.{row.model}", "prefect.resource.name": f"{row.model} {row.window}: {row.verdict}, {row.reason}"[:300]},
        payload={"model": row.model, "version": row.version, "window": row.window, "verdict": row.verdict, "share": row.share, "rows": row.rows},
    )
