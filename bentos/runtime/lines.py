"""The lines of the prediction and feedback logs. Readers keep every old version."""

import hmac
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Answer = bool | str | float


class PredictionLine(BaseModel):
    """One answered row. Times are ISO 8601 in UTC; `event_time` is the data's clock, `wall_time` the machine's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    id: str
    model: str
    version: str
    release: str
    role: Literal["champion", "challenger", "shadow"] = "champion"
    event_time: str
    wall_time: str
    row: dict[str, Any]
    score: float | list[float]
    prediction: Answer
    flags: list[str] = []
    latency_us: int = 0
    entity: str = ""


class FeedbackLine(BaseModel):
    """The true outcome of an answered row, as late, repeated or out of order as it came."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    id: str
    label: Answer
    time: str
    wall_time: str


def hash_of(value: object, key: bytes) -> str:
    """What the log keeps of an entity or a hashed feature: 16 hex digits of the HMAC-SHA256 of its text."""
    keyed = _keyed(key).copy()
    keyed.update(str(value).encode())
    return keyed.digest()[:8].hex()


@cache
def _keyed(key: bytes) -> hmac.HMAC:
    """The state after the key, which is the longer half of the work."""
    return hmac.new(key, digestmod="sha256")
