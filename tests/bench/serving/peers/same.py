"""The peer with all that our endpoint does: key, strict rows, ids, flags, a log line on disk before the reply, metrics.

Written as a good engineer would with FastAPI's own means, for this one model: `uvicorn same:app --loop uvloop --http httptools`.
"""

import hmac
import json
import math
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Annotated, Any, Literal

import orjson
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from graph import FOLDER, score
from prometheus_client import Counter, Histogram, make_asgi_app
from pydantic import BaseModel, ConfigDict, Field

RELEASE = os.environ["BENCH_RELEASE"]
LOG = os.open(os.environ["BENCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
SECRET = os.environ["BENCH_KEY"].encode()
KEY = b"Bearer " + SECRET
CARD = json.loads((FOLDER / "card.json").read_bytes())
MODEL, VERSION, THRESHOLD = CARD["name"], CARD["version"], CARD["contract"]["threshold"]
SKEW = timedelta(seconds=300)
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

predictions = Counter("predictions", "Rows answered.", ("version",)).labels(VERSION)
flagged = Counter("flags", "Answered rows with what training did not see.", ("version", "flag"))
latency = Histogram("request_seconds", "Seconds of a request.", ("version",), buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1)).labels(
    VERSION
)

known = {name: frozenset(seen["values"]) for name, seen in CARD["seen"].items() if seen["values"]}
ranges = {name: (seen["low"], seen["high"]) for name, seen in CARD["seen"].items() if seen["low"] is not None}


class Row(BaseModel):
    model_config = STRICT

    carrier: str = Field(max_length=1000)
    origin: Literal["EWR", "JFK", "LGA"]
    dest: str = Field(max_length=1000)
    departure_minute: float
    weekday: float
    scheduled_minutes: float
    distance: float
    plane_age: float | None = None
    plane_seats: float | None = None
    temp: float | None = None
    humid: float | None = None
    wind_dir: float | None = None
    wind_speed: float | None = None
    precip: float | None = None
    pressure: float | None = None
    visib: float | None = None
    event_time: datetime | None = Field(None, strict=False)
    entity: str | None = Field(None, max_length=1000)


class PredictRequest(BaseModel):
    model_config = STRICT

    rows: list[Row] = Field(min_length=1, max_length=1000)


class Answer(BaseModel):
    id: str
    prediction: bool
    score: float
    flags: list[str]


class PredictResponse(BaseModel):
    model: str
    version: str
    release: str
    answers: list[Answer]


async def authorized(authorization: Annotated[str, Header()] = "") -> None:
    if not hmac.compare_digest(authorization.encode(), KEY):
        raise HTTPException(401, "The key is missing or wrong.", {"www-authenticate": "Bearer"})


app = FastAPI()
app.mount("/metrics", make_asgi_app())


@app.post("/predict", dependencies=[Depends(authorized)], response_model=PredictResponse)
async def predict(request: PredictRequest) -> Response:
    started, now = perf_counter(), datetime.now(UTC)
    if any(row.event_time and row.event_time > now + SKEW for row in request.rows):
        raise HTTPException(400, "A time lies too far ahead.")
    values = [vars(row) for row in request.rows]
    scores = score(values)
    if not all(map(math.isfinite, scores)):
        raise HTTPException(400, "A row cannot be scored.")
    answers = [
        {"id": str(uuid.uuid4()), "prediction": found >= THRESHOLD, "score": found, "flags": flags(row)} for row, found in zip(values, scores, strict=True)
    ]
    write(values, answers, now.isoformat(), started)
    predictions.inc(len(answers))
    reply = orjson.dumps({"model": MODEL, "version": VERSION, "release": RELEASE, "answers": answers})
    latency.observe(perf_counter() - started)
    return Response(reply, media_type="application/json")  # as it is: FastAPI would validate it again


def flags(row: dict[str, Any]) -> list[str]:
    found = [f"unseen:{name}" for name, values in known.items() if row[name] and row[name] not in values]
    found += [f"range:{name}" for name, (low, high) in ranges.items() if row[name] is not None and not low <= row[name] <= high]
    for flag in found:
        flagged.labels(VERSION, flag).inc()
    return found


def write(rows: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]], wall: str, started: float) -> None:
    micros = int((perf_counter() - started) * 1e6)
    lines = []
    for row, answer in zip(rows, answers, strict=True):
        features = {name: value for name, value in row.items() if name not in {"event_time", "entity"}}
        time, entity = row["event_time"], row["entity"]
        line = {"v": 1, "model": MODEL, "version": VERSION, "release": RELEASE, "role": "champion", "wall_time": wall, "row": features, "latency_us": micros}
        line |= {"event_time": time.isoformat() if time else wall, "entity": hmac.digest(SECRET, entity.encode(), "sha256").hex()[:16] if entity else ""}
        lines.append(orjson.dumps(line | answer, option=orjson.OPT_APPEND_NEWLINE))
    data = b"".join(lines)
    if os.write(LOG, data) != len(data):
        raise HTTPException(503, "The log cannot be written.")
