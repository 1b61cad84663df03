"""Reads the prediction and feedback logs of a model, many lines at a time, and joins them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.spec import ModelSpec

NAMES = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}  # names of windows; the same letters in Python and in DuckDB
NEWEST = 2_000  # distinct times that the data's clock is read from
SANE = "BETWEEN TIMESTAMP '1970-01-01' AND TIMESTAMP '2200-01-01'"  # nanoseconds, in which pandas counts, end in 2262


@dataclass(frozen=True)
class Logs:
    """What the logs hold of the windows that are still to be judged, sorted by event time.

    `answers` has id, version, window, event_time (datetime64[ns], UTC), score, prediction (the class of a multiclass model,
    else the score) and label (0/1, number or class; null while unknown). `features` has the logged rows, on the same index.
    `newest` holds the newest distinct times, oldest first. `unreadable` lines and `unknown` labels are counted over all windows.
    """

    answers: pd.DataFrame
    features: pd.DataFrame
    newest: np.ndarray[Any, np.dtype[Any]]
    unreadable: int = 0
    unknown: int = 0


def read(folder: Path, spec: ModelSpec, label_delay: timedelta, settled: Collection[str]) -> Logs:
    """Read every segment of `<folder>/predictions` and `<folder>/feedback`.

    Of the windows named in `settled` only the times are kept. A line that is torn, foreign, of another model or of an
    unknown version is counted as unreadable; a label whose id no row has, as unknown. Of several labels of a row the one
    with the newest time wins. A label moves the data's clock at most to `label_delay` after its row: a client that sends
    labels of last year's rows without their times would move it to today.
    """
    import duckdb

    answered, labelled = (sorted(map(str, (folder / kind).glob("*.jsonl"))) for kind in ("predictions", "feedback"))
    if not answered:
        return Logs(pd.DataFrame(columns=["id", "version", "window", "event_time", "score", "prediction", "label"]), pd.DataFrame(), np.array([], "M8[ns]"))
    words = {"model": spec.name, "settled": list(settled), "format": NAMES[spec.monitoring.window]}
    with duckdb.connect(config={"TimeZone": "UTC", "autoinstall_known_extensions": "false"}) as db:
        db.execute(f"CREATE TABLE prediction AS {_predictions(answered, spec)}", words)
        db.execute(f"CREATE TABLE feedback AS {_feedback(labelled)}")
        db.execute(JOINED)
        counts = db.execute(COUNTS).fetchone() or (0, 0)
        answers = db.execute("SELECT id, version, window_name AS window, event_time, score, prediction, label FROM joined ORDER BY event_time, id").df()
        features = db.execute("SELECT unnest(line) FROM joined ORDER BY event_time, id").df()
        newest = db.execute(CLOCK, {"delay": label_delay, "newest": NEWEST}).fetchnumpy()["time"]
    answers["event_time"] = answers["event_time"].astype("datetime64[ns]")
    answers["label"] = _typed(answers["label"], spec)
    return Logs(answers, features, np.sort(np.asarray(newest, "M8[ns]")), *counts)


# A line that is no JSON object comes out of DuckDB as a row of nulls, and so does a value of another type than its column's.
JOINED = """
CREATE TABLE joined AS
    SELECT p.*, f.label, f.time AS label_time
    FROM (SELECT * FROM prediction WHERE open QUALIFY row_number() OVER (PARTITION BY id ORDER BY event_time) = 1) p
    LEFT JOIN (SELECT * FROM feedback WHERE readable QUALIFY row_number() OVER (PARTITION BY id ORDER BY time DESC, wall_time DESC) = 1) f USING (id)
"""
CLOCK = """
SELECT DISTINCT time
FROM (SELECT event_time AS time FROM prediction WHERE readable
      UNION ALL SELECT least(label_time, event_time + $delay) FROM joined WHERE label_time IS NOT NULL)
ORDER BY time DESC LIMIT $newest
"""
COUNTS = """
SELECT (SELECT count(*) FROM prediction WHERE NOT readable) + (SELECT count(*) FROM feedback WHERE NOT readable),
       (SELECT count(*) FROM feedback WHERE readable AND id NOT IN (SELECT id FROM prediction WHERE readable))
"""


def _predictions(files: Sequence[str], spec: ModelSpec) -> str:
    """Every line; score, prediction and row only where the window is open."""
    many = spec.task == "multiclass"
    row = ", ".join(f"{_name(name)} {'VARCHAR' if feature.type == 'category' else 'DOUBLE'}" for name, feature in spec.features.items())
    columns = {"v": "INT", "id": "VARCHAR", "model": "VARCHAR", "version": "VARCHAR", "role": "VARCHAR", "event_time": "VARCHAR"}
    columns |= {"score": "DOUBLE[]" if many else "DOUBLE", "prediction": "VARCHAR" if many else "JSON", "row": f"STRUCT({row})"}
    return f"""
    SELECT id, version, time AS event_time, window_name, readable, open,
           CASE WHEN open THEN score END AS score,
           CASE WHEN open THEN {"prediction" if many else "score"} END AS prediction,
           CASE WHEN open THEN line END AS line
    FROM (SELECT *, row AS line,
                 TRY_CAST(event_time AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS time,
                 strftime(time, $format) AS window_name,
                 v = 1 AND model = $model AND id IS NOT NULL AND version IS NOT NULL AND score IS NOT NULL AND row IS NOT NULL AS filled,
                 coalesce(filled AND time {SANE}, false) AS readable,
                 readable AND coalesce(role, '') != 'shadow' AND window_name NOT IN (SELECT unnest($settled::VARCHAR[])) AS open
          FROM {_lines(files, columns)})
    """


def _feedback(files: Sequence[str]) -> str:
    columns = {"v": "INT", "id": "VARCHAR", "label": "JSON", "time": "VARCHAR", "wall_time": "VARCHAR"}
    none = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
    return f"""
    SELECT id, text AS label, moment AS time, wall_time,
           coalesce(v = 1 AND id IS NOT NULL AND text IS NOT NULL AND moment {SANE}, false) AS readable
    FROM (SELECT *, label ->> '$' AS text, TRY_CAST(time AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS moment
          FROM {_lines(files, columns) if files else f"(SELECT {none} WHERE false)"})
    """


def _lines(files: Sequence[str], columns: dict[str, str]) -> str:
    listed = ", ".join(map(_text, files))
    typed = ", ".join(f"{_text(name)}: {_text(kind)}" for name, kind in columns.items())
    return f"read_json([{listed}], format = 'newline_delimited', ignore_errors = true, columns = {{{typed}}})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _typed(labels: "pd.Series[Any]", spec: ModelSpec) -> "pd.Series[Any]":
    """Labels as the task has them; what cannot be one is no label."""
    if spec.task == "multiclass":
        known = labels.where(labels.isin(spec.classes))
    elif spec.task == "binary":
        known = labels.map({"true": 1.0, "false": 0.0}).astype("float64")
    else:
        known = pd.to_numeric(labels, errors="coerce").astype("float64")
    return known
