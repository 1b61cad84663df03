"""Everything `ratchet new` makes of a file before it writes a line: what was found, and what a person should be told."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bentos.runtime.contract import Task
from deployments.scaffold.infer import Column, Columns, columns, free_name, numeric
from deployments.scaffold.reading import Table, column_of, read_table
from deployments.scaffold.sizes import HOLDOUT_SHARE, Sizes, sizes
from deployments.scaffold.target import Target, sorted_by, target
from deployments.scaffold.times import Times, read_times
from tasks.data.event_time import timed
from tasks.data.formats import Unreadable
from tasks.data.snapshot import label_of
from tasks.errors import SpecError
from tasks.spec import METRICS, ModelSpec
from tasks.training.leak import Leak, find_leaks
from tasks.training.split import split

COPY_BYTES = 20_000_000  # a smaller file is copied, so that the project folder is whole by itself
FEW_GROUPS = 8
WEEKDAY_DAYS = 14  # every weekday twice, or a weekday is only another name for a date
PERSONAL = re.compile(r"(^|_| )(e[-_]?mail|phone|mobile|iban|ssn|first_?name|last_?name|sur_?name|passport|birth_?date|date_of_birth)($|_| )")
SENSITIVE = re.compile(r"^(sex|gender|race|ethnicity|religion|nationality|age|marital_?status|disability)$")


@dataclass(frozen=True)
class Proposal:
    """What will be written for one model and its dataset.

    `derived` are features made from the time, with their code; `shuffled` says that the file lay in the order of its label.
    """

    name: str
    dataset: str
    table: Table
    target: Target
    columns: Columns
    times: Times | None
    time: str
    derived: dict[str, str]
    shuffled: bool
    sizes: Sizes
    leaks: tuple[Leak, ...]
    holdout: dict[str, int] = field(default_factory=dict)

    @property
    def contract(self) -> tuple[Column, ...]:
        """All features, in the order of the file and then the derived ones."""
        return self.columns.features + tuple(Column("", name, "integer") for name in self.derived)

    @property
    def copied(self) -> bool:
        """Whether the file goes into the dataset's folder."""
        return self.table.path.stat().st_size < COPY_BYTES

    @property
    def location(self) -> str:
        """The data file as the dataset's folder names it."""
        return f"data{self.table.ending}" if self.copied else str(self.table.path.resolve())

    @property
    def needs_loader(self) -> bool:
        """Whether the file needs a source.py to be read: its dialect, its times or the order of its rows are not plain."""
        return bool(self.table.arguments) or self.shuffled or bool(self.times and self.times.format)

    @property
    def ids(self) -> tuple[str, ...]:
        """Raw columns that may name what a row is about."""
        return tuple(left.raw for left in self.columns.left if left.is_key)[:3]

    @property
    def personal(self) -> tuple[str, ...]:
        """Raw columns whose names say that they name a person."""
        return tuple(str(raw) for raw in self.table.frame.columns if PERSONAL.search(str(raw).lower()))

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Features whose names say that people must not be treated differently by them."""
        return tuple(column.name for column in self.contract if SENSITIVE.search(column.name.lower()))

    @property
    def slices(self) -> tuple[str, ...]:
        """Features with a few groups that are big enough to be judged one by one."""
        few = [column for column in self.columns.features if column.kind in {"category", "boolean"}]
        return tuple(column.name for column in few if column.raw not in self.personal and self._groups(column.raw) >= 2)[:3]

    def _groups(self, raw: str) -> int:
        counts = self.table.frame[raw].value_counts()
        return int((counts * HOLDOUT_SHARE >= self.sizes.slice_min_rows).sum()) if len(counts) <= FEW_GROUPS else 0


def propose(
    name: str, data: Path, label: str, time: str | None = None, dataset: str | None = None, task: str | None = None, positive: str | None = None
) -> Proposal:
    """Read a file and propose a model for one of its columns.

    Raises:
        SpecError: the file, the label or the time cannot be used. UnknownNameError: a name that does not exist.
    """
    table = read_table(data)
    aim = target(column_of(table, label, "--label"), data, task, positive)
    if time == label:
        raise SpecError(data, [f"{label!r} cannot be both label and time"])
    if "event_time" in table.frame and time != "event_time":
        raise SpecError(data, ["has a column `event_time`, which is the engine's own word; rename it, or give it as --time"])
    times = _times(table, time) if time else None
    found = columns(table.frame, {label, time} if time else {label})
    derived = _derived(times, set(map(str, table.frame.columns)))
    if not found.features and not derived:
        raise SpecError(data, ["no column is left to learn from: " + "; ".join(f"{left.raw!r} {left.reason}" for left in found.left)])
    shuffled = times is None and sorted_by(table.frame[label], aim.task)
    spec = _spec(name, aim, found)
    rows = _training_rows(table.frame, found, spec, times, shuffled)
    parts = split(rows, spec.gate, name)
    return Proposal(
        name=name,
        dataset=dataset or name,
        table=table,
        target=aim,
        columns=found,
        times=times,
        time=time or "",
        derived=derived,
        shuffled=shuffled,
        sizes=sizes(rows["label"], aim.task, len(found.features) + len(derived), times.values if times else None),
        leaks=find_leaks(parts.train, parts.holdout, spec) if found.features else (),
        holdout={} if aim.task == "regression" else _classes(rows["label"], parts.holdout["label"], aim.task),
    )


def _times(table: Table, time: str) -> Times:
    try:
        times = read_times(column_of(table, time, "--time"))
    except Unreadable as err:
        raise SpecError(table.path, [f"{err}; mend them, or leave --time out"]) from err
    if times.values.nunique() == 1:
        raise SpecError(table.path, [f"time column {time!r} holds one time only, so no row is later than another; leave --time out"])
    return times


def _derived(times: Times | None, raws: set[str]) -> dict[str, str]:
    """Hour and weekday, where the times tell them apart."""
    if times is None:
        return {}
    found = {}
    if times.values.dt.hour.nunique() > 1:
        found[free_name("hour", raws)] = 'raw["event_time"].dt.hour'
    if times.days >= WEEKDAY_DAYS and times.values.dt.weekday.nunique() > 1:
        found[free_name("weekday", raws)] = 'raw["event_time"].dt.weekday'
    return found


def _spec(name: str, aim: Target, found: Columns) -> ModelSpec:
    """As much of the spec as the engine needs to say what it makes of labels and features."""
    features = {column.name: {"type": column.kind, "nullable": column.nullable} for column in found.features} or {"hour": {"type": "integer"}}
    content = {
        "dataset": name,
        "task": aim.task,
        "label": {"column": aim.column, "above": aim.above, "positive": aim.positive},
        "classes": aim.classes,
        "features": features,
        "gate": {"metric": METRICS[aim.task][0]},
    }
    return ModelSpec.model_validate({"name": name, "folder": Path(), **content})


def _classes(label: "pd.Series[Any]", judged: "pd.Series[Any]", task: Task) -> dict[str, int]:
    """Rows of each class in the hold-out."""
    words = {0.0: "false", 1.0: "true"} if task == "binary" else {}
    return {words.get(value, str(value)): int((judged == value).sum()) for value in label.unique()}


def _training_rows(frame: pd.DataFrame, found: Columns, spec: ModelSpec, times: Times | None, shuffled: bool) -> pd.DataFrame:
    """The rows with a label in the order of their time, in the form that training sees."""
    raw = frame.sample(frac=1, random_state=0, ignore_index=True) if shuffled else frame
    read = {c.name: numeric(raw[c.raw], c.unknown) if c.unknown else raw[c.raw].astype(object if c.kind == "category" else "float64") for c in found.features}
    rows = spec.contract.frame(pd.DataFrame(read, index=raw.index)) if read else pd.DataFrame(index=raw.index)
    moments = times.values if times else timed(raw[[]], "")["event_time"]
    rows = rows.assign(event_time=moments, label=label_of(raw, spec))
    return rows[rows["label"].notna()].sort_values("event_time", kind="stable", ignore_index=True)
