"""The timeline of a model's releases, as markdown. Pure."""

from tasks.ledger.chain import History
from tasks.ledger.questions import rows
from tasks.ledger.rows import ReleaseRow

SHOWN = 20
SIGN = {"live": "🟢 live", "undone": "🔴 undone", "started": "⚪ started"}


def timeline_markdown(history: History, model: str) -> str:
    """Newest release first: when, what, how it ended, who, why, and how long the rollout took."""
    steps = rows(history, ReleaseRow, model=model)
    last = {row.release: row for row in steps}
    lines = [_line(row) for row in list(last.values())[::-1][:SHOWN]]
    table = "\n".join(["| when (UTC) | release | version | | before it | by | rollout | why |", "|---|---|---|---|---|---|---|---|", *lines])
    return f"# Releases of {model}\n\n{table}\n\nRoll back with the deployment `rollback/{model}`.\n"


def _line(row: ReleaseRow) -> str:
    when = f"{row.recorded_at:%Y-%m-%d %H:%M:%S}" if row.recorded_at else ""
    seconds = f"{row.seconds:.1f} s" if row.seconds is not None else ""
    reason = row.reason.replace("|", "\\|").replace("\n", " ")
    return f"| {when} | {row.release} | {row.version} | {SIGN[row.step]} | {row.previous or 'nothing'} | {row.actor} | {seconds} | {reason} |"
