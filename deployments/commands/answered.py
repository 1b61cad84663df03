"""Finding one answered row in the prediction logs."""

import mmap
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bentos.runtime.lines import PredictionLine
from tasks.errors import UnknownNameError
from tasks.settings import Settings

UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def find(logs: Path, row_id: str) -> PredictionLine | None:
    """The line of an answered row by its id, in small letters or large; None when no log holds it. 100,000 lines are searched in milliseconds."""
    row_id = row_id.lower()
    for path in sorted(logs.glob("*/predictions/*.jsonl"), reverse=True):
        with suppress(FileNotFoundError):  # archived in this moment
            if line := _found(path, row_id):
                return line
    from tasks.monitoring.archive import found

    return found(logs.glob("*/predictions/*.parquet"), row_id)


def _found(path: Path, row_id: str) -> PredictionLine | None:
    if not path.stat().st_size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        wanted, end = f'"id":"{row_id}"'.encode(), 0
        while (at := text.find(wanted, end)) >= 0:
            begin, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            end = end if end >= 0 else len(text)
            line = PredictionLine.model_validate_json(text[begin:end])
            if line.id == row_id:  # a feature may be named `id` too
                return line
    return None


def unknown(kind: str, row_id: str, where: str, settings: Settings, now: datetime) -> UnknownNameError:
    """The error for an id that nothing knows. It says so when a row of that id would have been deleted because of its age."""
    hint = too_old(settings, row_id, now)
    return UnknownNameError(kind, row_id, (), f"{where} ({hint})" if hint else where)


def too_old(settings: Settings, row_id: str, now: datetime) -> str:
    """Which logs keep no line of an id's age; empty when all do, or the id does not say when it was made."""
    from tasks.project import Project

    made = UUID7.fullmatch(row_id.lower())
    if not made:
        return ""
    moment = datetime.fromtimestamp(int(made[1] + made[2], 16) / 1000, UTC)
    project = Project.of(settings)
    days = {name: project.model(name).log.keep_days for name in project.models()}
    kept = [f"lines of {name} are kept {many} days" for name, many in days.items() if now - moment > timedelta(days=many)]
    return f"{', '.join(kept)}, and this id was made on {moment:%Y-%m-%d}" if kept else ""
