"""What is known of a model beside its bytes: the card in its artefact folder, and what it says of the training rows.

The folder holds `card.json` and either `model.onnx` or `model.pkl` (joblib of the scikit-learn pipeline).
"""

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bentos.runtime.contract import Contract, Feature

if TYPE_CHECKING:
    import pandas as pd

Score = float | list[float]
FILES = {"onnx": "model.onnx", "sklearn": "model.pkl"}


class Seen(BaseModel):
    """What one feature held in training: the categories, or the smallest and largest number (None: only nulls)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


class Golden(BaseModel):
    """A row of the hold-out and the score that the exported model gave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: dict[str, Any]
    score: Score


class Card(BaseModel):
    """What a server must know of a model, beside its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    name: str
    version: str
    format: Literal["onnx", "sklearn"]
    contract: Contract
    columns: tuple[str, ...] = Field((), description="Multiclass: labels in the order of the model's own probability columns; empty: sorted.")
    seen: dict[str, Seen]
    golden: tuple[Golden, ...] = ()
    cutoff: datetime = Field(description="Event time of the newest training row.")
    holdout_score: float
    metric: str

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the card of an artefact folder."""
        return cls.model_validate_json((folder / "card.json").read_bytes())

    def save(self, folder: Path) -> None:
        """Write the card into an artefact folder."""
        (folder / "card.json").write_text(self.model_dump_json(indent=1) + "\n")


def seen_in(frame: "pd.DataFrame", contract: Contract) -> dict[str, Seen]:
    """What the features of a training frame (in the contract's form) held; nulls are not among the values."""
    return {name: _seen(frame[name], feature) for name, feature in contract.features.items()}


def _seen(column: "pd.Series[Any]", feature: Feature) -> Seen:
    if feature.type == "category":
        return Seen(values=tuple(sorted(value for value in column.unique() if value)))
    known = column.dropna()
    return Seen(low=float(known.min()), high=float(known.max())) if len(known) else Seen()


def request_rows(frame: "pd.DataFrame", contract: Contract) -> list[dict[str, Any]]:
    """Rows of a training frame (in the contract's form) as a caller would send them."""
    columns = {name: [_sent(value, feature) for value in frame[name].tolist()] for name, feature in contract.features.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _sent(value: Any, feature: Feature) -> Any:
    if feature.type == "category":
        return None if value == "" and feature.nullable else value
    if math.isnan(value):
        return None
    return bool(value) if feature.type == "boolean" else value
