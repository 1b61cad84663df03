"""The page of a scored file."""

from tasks.scoring.batch import Scored


def scored_markdown(scored: Scored) -> str:
    """Counts of a scored file, and of each flag."""
    lines = [
        f"# {scored.model}: a file was scored",
        f"From `{scored.source}` to `{scored.target}`, by version `{scored.version}`.",
        "| rows | scored | refused | flagged |\n|---:|---:|---:|---:|",
    ]
    lines[-1] += f"\n| {scored.rows:,} | {scored.rows - scored.refused:,} | {scored.refused:,} | {scored.flagged:,} |"
    if scored.refused:
        lines.append(f"Refused rows have no score; their column `error` says why. The first: {scored.problem}")
    if scored.flags:
        most = sorted(scored.flags.items(), key=lambda item: -item[1])
        lines.append("| flag | rows |\n|---|---:|\n" + "\n".join(f"| `{flag}` | {count:,} |" for flag, count in most))
    return "\n\n".join(lines)
