"""Served traffic of a small model for tests: its rows, its log lines, and a version with a reference of twelve weeks."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from bentos.runtime.contract import Feature
from tasks.ledger.rows import GateResult, VersionRow
from tasks.monitoring.thresholds import calibrate
from tasks.spec import ModelSpec
from tasks.store import Store

FEATURES = {
    "distance": Feature(type="number"),
    "temp": Feature(type="number", nullable=True),
    "weekend": Feature(type="boolean"),
    "carrier": Feature(type="category"),
}
VERSION = "20130321-aaaaaaaa"
HOLDOUT = 0.88  # area under the ROC curve of what `draw` gives, to two decimals


def draw(start: datetime, days: float, rows: int, seed: int = 0, shift: float = 0.0, informative: bool = True) -> pd.DataFrame:
    """Rows in time order with features, prediction and label; `shift` moves every feature, without information the label is a coin."""
    rng = np.random.default_rng(seed)
    times = pd.Timestamp(start).tz_localize(None) + pd.to_timedelta(np.linspace(0, days, rows, endpoint=False), unit="D")
    prediction = rng.beta(2, 5, rows)
    chance = np.clip(prediction * 2.4 - 0.25, 0, 1) if informative else np.full(rows, 0.4)
    frame = pd.DataFrame(
        {
            "distance": rng.gamma(3, 300, rows) * (1 + shift),
            "temp": rng.normal(50 + 15 * shift, 15, rows),
            "weekend": rng.random(rows) < 0.28 + 0.3 * shift,
            "carrier": rng.choice(["AA", "DL", "UA"], rows, p=[0.5 - 0.4 * min(shift, 1), 0.3, 0.2 + 0.4 * min(shift, 1)]),
            "prediction": prediction,
            "event_time": times.astype("datetime64[ns]"),
            "label": rng.random(rows) < chance,
        }
    )
    frame.loc[rng.random(rows) < 0.02, "temp"] = np.nan
    return frame


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def prediction_lines(frame: pd.DataFrame, version: str = VERSION, prefix: str = "r", **changed: Any) -> list[dict[str, Any]]:
    """The lines that the endpoint logs of rows."""
    values = frame.astype(object).where(frame.notna(), None).to_dict("records")
    lines = []
    for i, row in enumerate(values):
        line = {
            "v": 1,
            "id": f"{prefix}-{i}",
            "model": "late",
            "version": version,
            "release": "1",
            "role": "champion",
            "event_time": row["event_time"].isoformat() + "+00:00",
        }
        line |= {"wall_time": "2026-11-01T00:00:00+00:00", "row": {name: row[name] for name in FEATURES if name in row}, "score": row["prediction"]}
        lines.append(line | {"prediction": row["prediction"] >= 0.5, "flags": [], "latency_us": 80, "entity": ""} | changed)
    return lines


def write_predictions(folder: Path, frame: pd.DataFrame, version: str = VERSION, prefix: str = "r", **changed: Any) -> list[str]:
    """Append the rows as the endpoint logs them; returns their ids."""
    append(folder / "predictions" / "1.jsonl", prediction_lines(frame, version, prefix, **changed))
    return [f"{prefix}-{i}" for i in range(len(frame))]


def write_segment(folder: Path, begun: datetime, data: bytes, pod: str = "", start: int = 0) -> Path:
    """A segment of a log folder whose writer is gone, or with a pod a shipped piece of one."""
    name = f"{begun:%Y%m%dT%H%M%S.%f}Z-7"
    path = folder / (f"{pod}-{name}-{start:012}.jsonl" if pod else f"{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_labels(folder: Path, ids: Sequence[str], labels: Sequence[Any], times: Sequence[str]) -> None:
    """Append labels as the endpoint logs them."""
    rows = zip(ids, labels, times, strict=True)
    append(
        folder / "feedback" / "1.jsonl", [{"v": 1, "id": i, "label": label, "time": time, "wall_time": "2026-11-01T00:00:00+00:00"} for i, label, time in rows]
    )


def append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))


def send(folder: Path, frame: pd.DataFrame, prefix: str = "r", version: str = VERSION, delay: timedelta = timedelta(days=1)) -> None:
    """Answered rows, and all their labels one delay later."""
    ids = write_predictions(folder, frame, version, prefix)
    write_labels(folder, ids, [bool(label) for label in frame["label"]], [(time + delay).isoformat() + "+00:00" for time in frame["event_time"]])


def version_row(spec: ModelSpec, store: Store, name: str = VERSION, decision: str = "late-1") -> VersionRow:
    """A version with a reference of twelve weeks from January 2013 and thresholds calibrated on it."""
    reference = draw(day("2013-01-07"), 84, 8_000, seed=7)
    reference["holdout"] = reference["event_time"] >= pd.Timestamp("2013-03-11")
    buffer = io.BytesIO()
    reference.drop(columns="label").to_parquet(buffer)
    gate = GateResult(accepted=True, reasons=("first",), metric="roc_auc", rows=900, blocks=10, scores={"challenger": HOLDOUT})
    return VersionRow(
        model=spec.name,
        decision=decision,
        version=name,
        attempt=1,
        cutoff=day("2013-03-11"),
        seen_until=day("2013-04-01"),
        snapshot="s",
        code="c",
        seed=0,
        family="boosting",
        params={},
        trials=1,
        rows=8_000,
        format="onnx",
        parity="equal",
        prediction_digest="p",
        artefact="a",
        reference=str(store.put(buffer.getvalue(), ".parquet")),
        thresholds=calibrate(reference, spec.contract, spec.monitoring),
        holdout_score=HOLDOUT,
        gate=gate,
        python="3.11",
        cpu="x86",
    )
