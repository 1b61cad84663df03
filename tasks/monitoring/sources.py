"""The queries that make one table of a log's segments and archives, whichever a line is in."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.monitoring.segments import Files
from tasks.spec import ModelSpec

SANE = "BETWEEN TIMESTAMP '1970-01-01' AND TIMESTAMP '2200-01-01'"  # nanoseconds, in which pandas counts, end in 2262
Columns = Mapping[str, Any]  # names and types, in the form of DuckDB's JSON structures


def open_times(files: Files) -> str:
    """First and last event time in the archives of the windows that are not `$settled`; of all others only the keys are read."""
    return f"""
    SELECT min(event_time), max(event_time)
    FROM (SELECT event_time, event_time AT TIME ZONE 'UTC' AS time FROM {_archives(files)} WHERE line IS NULL)
    WHERE time {SANE} AND strftime(time, $format) NOT IN (SELECT unnest($settled::VARCHAR[]))
    """


def predictions(files: Files, spec: ModelSpec, open_span: tuple[datetime | None, datetime | None] | None) -> str:
    """Every line; more than id and time only where the window is open. `open_span` holds the times of these windows in the archives."""
    many = spec.task == "multiclass"
    row = {name: "VARCHAR" if feature.type == "category" else "DOUBLE" for name, feature in spec.features.items()}
    columns: dict[str, Any] = {"v": "INT", "id": "VARCHAR", "model": "VARCHAR", "version": "VARCHAR", "role": "VARCHAR", "event_time": "VARCHAR"}
    columns |= {"score": ["DOUBLE"] if many else "DOUBLE", "prediction": "VARCHAR", "row": row}
    lines = "SELECT v, id, model, version, role, TRY_CAST(event_time AS TIMESTAMPTZ) AS moment, score, prediction, row AS line, row IS NOT NULL AS whole"
    parts = _raw(lines, files, columns)
    if files.archives:
        first, last = (time and f"TIMESTAMPTZ '{time.isoformat()}'" for time in open_span or (None, None))
        within = f"event_time BETWEEN {first} AND {last}" if first else "false"
        keys = f"SELECT 1, id, model, version, role, event_time, {'scores' if many else 'score'}"
        rest = f"true FROM {_archives(files)} WHERE line IS NULL"
        parts += [f"{keys}, prediction ->> '$', from_json(row, {_text(json.dumps(row))}), {rest} AND {within}"]
        parts += [f"{keys}, NULL, NULL, {rest} AND NOT {within}"]
    return f"""
    SELECT id, time AS event_time, readable, open,
           CASE WHEN open THEN version END AS version,
           CASE WHEN open THEN window_name END AS window_name,
           CASE WHEN open THEN score END AS score,
           CASE WHEN open THEN {"prediction" if many else "score"} END AS prediction,
           CASE WHEN open THEN line END AS line
    FROM (SELECT *, moment AT TIME ZONE 'UTC' AS time,
                 strftime(time, $format) AS window_name,
                 v = 1 AND model = $model AND id IS NOT NULL AND version IS NOT NULL AND score IS NOT NULL AND whole AS filled,
                 coalesce(filled AND time {SANE}, false) AS readable,
                 readable AND coalesce(role, '') != 'shadow' AND window_name NOT IN (SELECT unnest($settled::VARCHAR[])) AS open
          FROM ({" UNION ALL ".join(parts)}))
    """


def feedback(files: Files) -> str:
    """Every label."""
    columns = {"v": "INT", "id": "VARCHAR", "label": "JSON", "time": "VARCHAR", "wall_time": "VARCHAR"}
    times = "TRY_CAST(time AS TIMESTAMPTZ) AS moment, TRY_CAST(wall_time AS TIMESTAMPTZ) AS wall_time"
    parts = _raw(f"SELECT v, id, label ->> '$' AS label, {times}", files, columns)
    parts += [f"SELECT 1, id, label ->> '$', time, wall_time FROM {_archives(files)} WHERE line IS NULL"] if files.archives else []
    parts = parts or [
        "SELECT NULL::INT AS v, NULL::VARCHAR AS id, NULL::VARCHAR AS label, NULL::TIMESTAMPTZ AS moment, NULL::TIMESTAMPTZ AS wall_time WHERE false"
    ]
    return f"""
    SELECT id, label, time, wall_time, coalesce(v = 1 AND id IS NOT NULL AND label IS NOT NULL AND time {SANE}, false) AS readable
    FROM (SELECT *, moment AT TIME ZONE 'UTC' AS time FROM ({" UNION ALL ".join(parts)}))
    """


def _raw(select: str, files: Files, columns: Columns) -> list[str]:
    """A selection from lines as they were written: those of the segments, and those that archives keep because their columns do not give them back.

    A line that is no JSON object becomes a row of nulls, and a value of another type than its column's is null.
    """
    parts = []
    if files.segments:
        typed = ", ".join(f"{_text(name)}: {_text(_type(kind))}" for name, kind in columns.items())
        listed = ", ".join(map(_text, files.segments))
        parts += [f"{select} FROM read_json([{listed}], format = 'newline_delimited', ignore_errors = true, columns = {{{typed}}})"]
    if files.archives:
        parsed = f"unnest(from_json(CASE WHEN json_valid(text) THEN text END, {_text(json.dumps(columns))}))"
        parts += [f"{select} FROM (SELECT {parsed} FROM (SELECT TRY(decode(line)) AS text FROM {_archives(files)} WHERE line IS NOT NULL))"]
    return parts


def _archives(files: Files) -> str:
    return f"read_parquet([{', '.join(map(_text, files.archives))}])"


def _type(kind: Any) -> str:
    """A type as SQL names it."""
    if isinstance(kind, list):
        return f"{_type(kind[0])}[]"
    return kind if isinstance(kind, str) else f"STRUCT({', '.join(f'{_name(name)} {_type(of)}' for name, of in kind.items())})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
