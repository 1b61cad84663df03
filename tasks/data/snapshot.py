"""Snapshots: the accepted batches that a training uses, named by their bytes, and the rows and labels they give."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tasks.data.features import Features, columns_required, feature_rows, refuse_look_ahead, typed
from tasks.errors import SpecError, TrainingError
from tasks.ledger.chain import History
from tasks.ledger.questions import accepted
from tasks.ledger.questions import rows as ledger_rows
from tasks.ledger.rows import BatchRow
from tasks.project import Project
from tasks.spec import DatasetSpec, ModelSpec
from tasks.store import Ref, Store

Frames = Callable[[ModelSpec], pd.DataFrame]
_built: dict[tuple[str, ...], pd.DataFrame] = {}  # training frames of this process, so that the steps of one run build theirs once


class SnapshotBatch(BaseModel):
    """One batch of a snapshot: its name and its Parquet in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: str
    ref: str


class Snapshot(BaseModel):
    """Accepted batches in the order they were ingested. `ref` names the canonical JSON of all the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: Ref
    dataset: str
    rule: str
    batches: tuple[SnapshotBatch, ...]


def take(history: History, spec: DatasetSpec, store: Store) -> Snapshot:
    """The snapshot of everything that may train now; the same ledger gives the same reference.

    Raises:
        TrainingError: no batch was accepted yet.
    """
    ingested = {(row.batch, row.ref): place for place, row in enumerate(ledger_rows(history, BatchRow, dataset=spec.name))}
    batches = sorted(accepted(history, spec.name), key=lambda row: ingested[row.batch, row.ref])
    if spec.period == "all":
        batches = batches[-1:]  # the newest file is the whole of it; an older one holds the same rows, or mistakes that were mended
    if not batches:
        raise TrainingError(spec.name, "its dataset has no accepted batch", "Ingest one, or let a quarantined one in.")
    content: dict[str, Any] = {"dataset": spec.name, "rule": _rule(spec), "batches": [{"batch": row.batch, "ref": row.ref} for row in batches]}
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return Snapshot(ref=store.put(data, ".json"), **content)


def load(ref: Ref, store: Store) -> Snapshot:
    """The snapshot that a reference names."""
    return Snapshot(ref=ref, **json.loads(store.get(ref)))


def rows(snapshot: Snapshot, spec: DatasetSpec, store: Store) -> pd.DataFrame:
    """Raw rows of a snapshot with `event_time`, duplicates settled by the snapshot's rule, sorted by time and then entity.

    Raises:
        SpecError: the batches lack a column that the dataset's spec names.
        TrainingError: a column has types in two batches that do not go together.
    """
    tables = [pq.read_table(io.BytesIO(store.get(Ref.parse(batch.ref)))).replace_schema_metadata() for batch in snapshot.batches]
    try:
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as err:
        raise TrainingError(spec.name, f"its batches do not fit together: {err}", "Ingest the odd one again with the types of the others.") from err
    columns_required(frame, spec.entity, spec, "entity")
    frame["event_time"] = frame["event_time"].astype("datetime64[ns]")
    batch_number = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    frame = frame[~_superseded(frame, batch_number, spec)]
    keys = [pd.factorize(frame[column].astype(str), sort=True)[0] for column in reversed(spec.entity)]
    return frame.iloc[np.lexsort([*keys, frame["event_time"].to_numpy()])].reset_index(drop=True)


def label_of(raw: pd.DataFrame, model: ModelSpec) -> "pd.Series[Any]":
    """Label of each raw row: 0/1 (binary), a number (regression) or the class as text (multiclass); NaN where unknown.

    As text, whole numbers and booleans are '1' and 'True', also where nulls made their column a float one.

    Raises:
        SpecError: the column is missing, or holds text where the task needs numbers.
    """
    label, path = model.label, model.folder / "model.toml"
    if label.column not in raw:
        raise SpecError(path, [f"label.column {label.column!r} is no column of dataset {model.dataset!r}"])
    column = raw[label.column]
    if model.task == "multiclass":
        return _text(column)
    if label.positive is not None:
        return (_text(column) == label.positive).astype("float64").where(column.notna())
    try:
        number = pd.to_numeric(column).astype("float64")
    except (ValueError, TypeError) as err:
        raise SpecError(path, [f"label.column {label.column!r} holds text, but the task needs numbers: {err}"]) from err
    number = number.where(np.isfinite(number))
    return number if label.above is None else (number > label.above).astype("float64").where(number.notna())


def entity_of(raw: pd.DataFrame, dataset: DatasetSpec) -> "pd.Series[Any]":
    """The entity key of each row as one text: its columns joined with '|'."""
    key, *others = (raw[column].astype(str) for column in dataset.entity)
    for column in others:
        key = key + "|" + column
    return key


def training_frame(raw: pd.DataFrame, dataset: DatasetSpec, model: ModelSpec, features: Features) -> pd.DataFrame:
    """Rows with a known label: the contract's features, `event_time`, `label` and, when the dataset names one, `entity`.

    Raises:
        LeakError: `features()` reads what is known only after the event.
        SpecError: columns are missing or of another type than the spec says, a class is not listed, or `features()` looks ahead.
    """
    columns_required(raw, dataset.entity, dataset, "entity")
    given = feature_rows(raw, dataset, model, features)
    refuse_look_ahead(given, raw, dataset, model, features)
    label = label_of(raw, model)
    if model.task == "multiclass" and (unlisted := sorted(set(label.dropna().unique()) - set(model.classes))):
        raise SpecError(model.folder / "model.toml", [f"`classes` does not list {', '.join(unlisted[:5])}, which label.column {model.label.column!r} holds"])
    frame = typed(given, model).assign(event_time=raw["event_time"], label=label)
    if dataset.entity:
        frame["entity"] = entity_of(raw, dataset)
    return frame[label.notna() & raw["event_time"].notna()].reset_index(drop=True)


def frames_of(snapshot: Snapshot, dataset: DatasetSpec, project: Project, store: Store) -> Frames:
    """A function that gives the training frame of a model on this snapshot; the last two of a process are kept."""

    def frame(model: ModelSpec) -> pd.DataFrame:
        key = (snapshot.ref.digest, model.name, project.code_digest(model.name), *model.features)
        if key not in _built:
            built = training_frame(rows(snapshot, dataset, store), dataset, model, project.pipeline(model.name).features)
            while len(_built) > 1:
                del _built[next(iter(_built))]
            _built[key] = built
        return _built[key]

    return frame


def _rule(spec: DatasetSpec) -> str:
    if spec.entity:
        return f"one row per ({', '.join([*spec.entity, 'event_time'])}): the last ingested wins"
    return "a row that several batches hold counts as often as in the batch that holds it most often"


def _superseded(frame: pd.DataFrame, batch_number: "np.ndarray[Any, Any]", spec: DatasetSpec) -> "np.ndarray[Any, Any]":
    """True for rows that one ingested later replaces; the rows come in the order they were ingested."""
    if spec.entity:
        return frame.duplicated([*spec.entity, "event_time"], keep="last").to_numpy()
    row = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    copy = pd.Series(row).groupby([batch_number, row]).cumcount()  # equal rows of one batch are told apart by their number
    return pd.DataFrame({"row": row, "copy": copy}).duplicated(keep="last").to_numpy()


def _text(column: "pd.Series[Any]") -> "pd.Series[Any]":
    known = column.notna()
    if pd.api.types.is_float_dtype(column) and (column[known] % 1 == 0).all():
        column = column.where(known, 0).astype("int64")
    text: pd.Series[Any] = column.astype(str).astype(object).where(known)
    return text
