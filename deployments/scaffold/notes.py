"""What a person is told of a proposal: what was inferred, what was left out, what to decide."""

from deployments.scaffold.proposal import Proposal
from deployments.scaffold.target import CLASS_ROWS


def notes(it: Proposal) -> tuple[str, ...]:
    """What a person should be told of a proposal, a sentence or two each."""
    kinds = [column.kind for column in it.contract]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("number", "integer", "boolean", "category") if kind in kinds)
    return (
        f"Label {it.target.column!r} is {it.target.task}: {it.target.why}. --task{' and --positive' if it.target.task == 'binary' else ''} would change that.",
        f"{len(it.table.frame):,} rows, {len(kinds)} features ({counted}).",
        *(f"Left out {left.raw!r}: {left.reason}." for left in it.columns.left),
        *(f"In {column.raw!r}, {' and '.join(map(repr, column.unknown))} counts as null." for column in it.columns.features if column.unknown),
        *_about_time(it),
        *_about_label(it),
        *(f"{leak}. DECIDE in model.toml; the gate refuses until then." for leak in it.leaks),
        f"{it.table.path.name} is copied into expectations/{it.dataset}."
        if it.copied
        else f"{it.table.path.name} is large and stays where it is; dataset.toml names it there.",
        *([f"source.py reads it{_how(it)}."] if it.needs_loader else []),
    )


def _about_time(it: Proposal) -> list[str]:
    if it.times:
        span = f"Time {it.time!r} runs from {it.times.values.min()} to {it.times.values.max()}."
        return [span, *([f"DECIDE in source.py how it is written: {it.times.doubt}."] if it.times.doubt else [])]
    dates = [left.raw for left in it.columns.left if "dates as text" in left.reason or "holds times" in left.reason]
    hint = f" If {dates[0]!r} is the time, delete the two folders and run this again with --time {dates[0]!r}." if dates else ""
    return [f"There is no time column, so the order of the rows counts as time.{hint}"]


def _about_label(it: Proposal) -> list[str]:
    told = []
    if missing := int(it.table.frame[it.target.column].isna().sum()):
        told.append(f"{missing:,} rows have no label and are not trained on.")
    if it.shuffled:
        told.append("The rows lie in the order of the label, which is no order of time: they are mixed, always in the same way.")
    for value, count in it.holdout.items():
        if count < CLASS_ROWS / 2:
            told.append(f"The newest fifth of the rows, which judges, holds only {count} with label {value}. More rows or fewer classes would help.")
    return told


def _how(it: Proposal) -> str:
    told = [f"{key} {value!r}" for key, value in it.table.arguments.items()] + ([f"times as {it.times.format!r}"] if it.times and it.times.format else [])
    return f" with {', '.join(told)}" if told else ""
