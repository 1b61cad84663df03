"""Lines of a log as one Parquet file, with columns that an analyst can use, and back again without loss.

Where the columns do not give a line back exactly as it was, the line itself stands beside them (`line`): one with a time of another zone, or one that
is no line of ours, whose columns are null then. So nothing is lost, and readers treat such a line as they would in the JSON.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
from pydantic_core import from_json

from bentos.runtime.lines import FeedbackLine, PredictionLine
from tasks.errors import PlatformError
from tasks.monitoring.pieces import MOMENT, Span, folder_of

if TYPE_CHECKING:
    import pyarrow as pa

Line = PredictionLine | FeedbackLine
ROWS = 20_000  # of a row group: what is read to find one id
CHUNK = 5_000  # lines that are Python objects at a time
SANE = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))  # a wall time outside says nothing of an archive's age
PIECES = b"ratchet.pieces"  # key of the metadata that lists the spans


def schema(kind: str) -> "pa.Schema":
    """Names and types of the columns of an archive of `predictions` or `feedback`."""
    import pyarrow as pa

    time, text = pa.timestamp("us", "UTC"), pa.string()
    columns: dict[str, Any] = {"id": text, "label": text, "time": time, "wall_time": time}
    if kind == "predictions":
        columns = dict.fromkeys(("id", "model", "version", "release", "role"), text) | {"event_time": time, "wall_time": time, "row": text}
        columns |= {"score": pa.float64(), "scores": pa.list_(pa.float64()), "prediction": text, "flags": pa.list_(text)}
        columns |= {"latency_us": pa.int64(), "entity": text}
    return pa.schema(columns | {"line": pa.binary()})


def columns_of(kind: str, line: bytes) -> dict[str, Any]:
    """The columns of a line; what has no place in them is null or left out."""
    model, to_columns, to_line = FORMS[kind]
    try:
        parsed = from_json(line, allow_inf_nan=False)
        columns = to_columns(model.model_validate(parsed))
        same = _canonical(to_line(columns)) == _canonical(parsed)
    except (ValueError, TypeError):  # not ours, or with a number that no column takes
        return {"line": line}
    return columns if same else columns | {"line": line}


def line_of(kind: str, columns: Mapping[str, Any]) -> Line:
    """The line that became these columns.

    Raises:
        pydantic.ValidationError: it never was one of ours.
    """
    model, _, to_line = FORMS[kind]
    return model.model_validate_json(columns["line"]) if columns["line"] is not None else model.model_validate(to_line(columns))


def written(kind: str, lines: Iterable[bytes], spans: Iterable[Span], begun: Iterable[datetime]) -> tuple[str, bytes]:
    """Name and bytes of the archive of some lines: the same ones whoever makes it. `begun` says when each of its segments was begun."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    layout, listed = schema(kind), json.dumps(sorted((span.segment.rpartition("/")[2], span.start, span.end) for span in spans))
    chunks = [pa.RecordBatch.from_pylist([columns_of(kind, line) for line in some], layout) for some in _some(lines)]
    table = pa.Table.from_batches(chunks, layout).sort_by("id").replace_schema_metadata({PIECES: listed})
    walls = table["wall_time"].filter(pc.and_(pc.greater_equal(table["wall_time"], SANE[0]), pc.less(table["wall_time"], SANE[1])))
    times = [*begun, *(time.as_py() for time in pc.min_max(walls).values() if time.is_valid)]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROWS, compression="zstd", use_dictionary=REPEATED, column_encoding={"id": "DELTA_BYTE_ARRAY"})
    digest = hashlib.sha256(listed.encode()).hexdigest()[:8]
    return f"{min(times):{MOMENT}}-{max(times):{MOMENT}}-{digest}.parquet", sink.getvalue().to_pybytes()


def spans_in(file: BinaryIO | Path, path: str) -> list[Span]:
    """The pieces of segments, in the folder of `path`, that the archive of this path holds the lines of.

    Raises:
        PlatformError: it is none, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        listed = json.loads(pq.read_metadata(file).metadata[PIECES])
    except (pa.ArrowInvalid, KeyError, TypeError) as err:
        remedy = "Restore it from a backup; without it, its lines are lost. Move it away to go on."
        raise PlatformError(f"The archive {path} of the log cannot be read ({type(err).__name__}: {err})", remedy) from err
    return [Span(f"{folder_of(path)}/{name}", start, end) for name, start, end in listed]


def found(archives: Iterable[Path], row_id: str) -> PredictionLine | None:
    """The line of an answered row by its id. Of each file the statistics are read, and the row groups that may hold it."""
    listed = list(map(str, archives))
    if not listed:
        return None
    import duckdb

    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as db:
        query = "SELECT * FROM read_parquet($files) WHERE id = $id LIMIT 1"
        rows = db.sql(query, params={"files": listed, "id": row_id}).to_arrow_table().to_pylist()
    return PredictionLine.model_validate(line_of("predictions", rows[0])) if rows else None


def _some(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(lines)
    return iter(lambda: list(islice(rest, CHUNK)), [])


def _of_prediction(line: PredictionLine) -> dict[str, Any]:
    if not -(2**63) <= line.latency_us < 2**63:
        raise ValueError("no column takes it")
    columns = vars(line) | {"score": None, "scores" if isinstance(line.score, list) else "score": line.score}
    columns |= {"event_time": _moment(line.event_time), "wall_time": _moment(line.wall_time)}
    return columns | {"row": _text(line.row), "prediction": _text(line.prediction)}


def _prediction(columns: Mapping[str, Any]) -> dict[str, Any]:
    line = {name: columns[name] for name in ("id", "model", "version", "release", "role", "flags", "latency_us", "entity")}
    line |= {"v": 1, "score": columns["scores"] if columns["score"] is None else columns["score"]}
    line |= {"row": orjson.loads(columns["row"]), "prediction": orjson.loads(columns["prediction"])}
    return line | {"event_time": _iso(columns["event_time"]), "wall_time": _iso(columns["wall_time"])}


def _of_feedback(line: FeedbackLine) -> dict[str, Any]:
    return {"id": line.id, "label": _text(line.label), "time": _moment(line.time), "wall_time": _moment(line.wall_time)}


def _feedback(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {"v": 1, "id": columns["id"], "label": orjson.loads(columns["label"]), "time": _iso(columns["time"]), "wall_time": _iso(columns["wall_time"])}


FORMS: dict[str, tuple[type[Line], Callable[[Any], dict[str, Any]], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "predictions": (PredictionLine, _of_prediction, _prediction),
    "feedback": (FeedbackLine, _of_feedback, _feedback),
}
REPEATED = ["model", "version", "release", "role", "prediction", "label", "flags.list.element"]  # columns whose values are few


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _canonical(line: dict[str, Any]) -> bytes:
    """Equal only for lines that are equal to the type of each number."""
    return orjson.dumps(line, option=orjson.OPT_SORT_KEYS)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
