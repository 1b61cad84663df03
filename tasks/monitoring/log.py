"""Reads the prediction and feedback logs of a model, many lines at a time, and joins them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bentos.runtime.rows import LIMIT
from tasks.monitoring import sources
from tasks.monitoring.segments import Files
from tasks.spec import ModelSpec

NAMES = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}  # names of windows; the same letters in Python and in DuckDB
NEWEST = 2_000  # distinct times that the data's clock is read from
TRIES = 5  # listings before a reader gives up on segments that are archived under its hands
TIMED = r"[0-9a-f]{8}-[0-9a-f]{4}-7.*"  # ids that say when they were made


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


def read(folder: Path, spec: ModelSpec, label_delay: timedelta, settled: Collection[str], now: datetime | None = None) -> Logs:
    """Read every segment and archive of `<folder>/predictions` and `<folder>/feedback`.

    Of the windows named in `settled` only the times are kept. A line that is torn, foreign, of another model or of an
    unknown version is counted as unreadable; a label whose id no row has, as unknown, unless its row may have been deleted
    because of its age by `now` (left out: the wall clock). Of several labels of a row the one with the newest time wins.
    A label moves the data's clock at most to `label_delay` after its row: a client that sends labels of last year's rows
    without their times would move it to today.
    """
    import duckdb

    for tries_left in reversed(range(TRIES)):
        try:
            return _read(folder, spec, label_delay, settled, now or datetime.now(UTC))
        except (FileNotFoundError, duckdb.IOException):  # what was listed may have been archived meanwhile
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _read(folder: Path, spec: ModelSpec, label_delay: timedelta, settled: Collection[str], now: datetime) -> Logs:
    import duckdb

    answered, labelled = (Files.of(folder / kind) for kind in ("predictions", "feedback"))
    if not answered:
        return Logs(pd.DataFrame(columns=["id", "version", "window", "event_time", "score", "prediction", "label"]), pd.DataFrame(), np.array([], "M8[ns]"))
    words = {"settled": list(settled), "format": NAMES[spec.monitoring.window]}
    with duckdb.connect(config={"TimeZone": "UTC", "autoinstall_known_extensions": "false"}) as db:
        span = db.execute(sources.open_times(answered), words).fetchone() if answered.archives else None
        db.execute(f"CREATE TABLE prediction AS {sources.predictions(answered, spec, span)}", words | {"model": spec.name})
        db.execute(f"CREATE TABLE feedback AS {sources.feedback(labelled)}")
        db.execute(JOINED)
        counts = db.execute(COUNTS, {"kept": first_id(now, spec.log.keep_days), "timed": TIMED}).fetchone() or (0, 0)
        answers = db.execute("SELECT id, version, window_name AS window, event_time, score, prediction, label FROM joined ORDER BY event_time, id").df()
        features = db.execute("SELECT unnest(line) FROM joined ORDER BY event_time, id").df()
        newest = db.execute(CLOCK, {"delay": label_delay, "newest": NEWEST}).fetchnumpy()["time"]
    answers["event_time"] = answers["event_time"].astype("datetime64[ns]")
    answers["label"] = _typed(answers["label"], spec)
    return Logs(answers, features, np.sort(np.asarray(newest, "M8[ns]")), *counts)


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
# Ids in the form of UUIDv7 are in the order of time: those below the oldest that is kept belong to rows which may have been deleted.
COUNTS = """
WITH kept AS (SELECT greatest($kept, min(id)) AS oldest FROM prediction WHERE readable AND id SIMILAR TO $timed)
SELECT (SELECT count(*) FROM prediction WHERE NOT readable) + (SELECT count(*) FROM feedback WHERE NOT readable),
       (SELECT count(*) FROM feedback, kept
        WHERE readable AND NOT (id SIMILAR TO $timed AND id < oldest) AND id NOT IN (SELECT id FROM prediction WHERE readable))
"""


def _typed(labels: "pd.Series[Any]", spec: ModelSpec) -> "pd.Series[Any]":
    """Labels as the task has them; what /feedback would not take is no label."""
    if spec.task == "multiclass":
        known = labels.where(labels.isin(spec.classes))
    elif spec.task == "binary":
        known = labels.map({"true": 1.0, "false": 0.0}).astype("float64")
    else:
        known = pd.to_numeric(labels, errors="coerce").astype("float64")
        known = known.where(known.abs() <= LIMIT)
    return known


def first_id(now: datetime, keep_days: int) -> str:
    """No id made in the last `keep_days` is below this one."""
    moment = f"{max(0, int(now.timestamp() - keep_days * 86_400) * 1_000):012x}"
    return f"{moment[:8]}-{moment[8:]}"
