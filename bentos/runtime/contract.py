"""The row contract: what a request row may hold, said once for training, serving and monitoring."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["binary", "multiclass", "regression"]
RESERVED = ("event_time", "entity", "label", "prediction", "holdout")  # words of request rows, training frames and reference rows; no feature may be named so


class Feature(BaseModel):
    """One column of a request row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["number", "integer", "boolean", "category"]
    nullable: bool = Field(False, description="True when training rows had nulls: a request may then omit it or send null.")
    closed: tuple[str, ...] = Field((), description="The only values there are; any other is refused instead of flagged.")
    log: Literal["plain", "hash", "omit"] = Field("plain", description="How the prediction log keeps its values. A personal column is hashed or left out.")
    description: str = ""


class Contract(BaseModel):
    """What one model's request rows and answers look like."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    task: Task
    features: dict[str, Feature]
    classes: tuple[str, ...] = Field((), description="Multiclass: the labels, in the order of the answer's probabilities.")
    threshold: float = Field(0.5, gt=0, lt=1, description="Binary: the probability from which the prediction is true.")

    @property
    def logged(self) -> dict[str, Feature]:
        """The features whose values the prediction log holds as they are; readers of the log know nothing of the others."""
        return {name: feature for name, feature in self.features.items() if feature.log == "plain"}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the contract out of a `model.toml`; the model's name is its folder's."""
        return cls(name=path.parent.name, **tomllib.loads(path.read_text()))

    def frame(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """The feature columns in the contract's order and types, the one form that pipelines are fitted on and asked with.

        Numbers, integers and booleans become float64 (null: NaN), categories become str (null: the empty string).
        """
        import pandas as pd

        columns: dict[str, Any] = {}
        for name, feature in self.features.items():
            column = rows[name]
            if feature.type == "category":
                columns[name] = column.where(column.notna(), "").astype(str).astype(object)
            else:
                columns[name] = column.astype("float64")
        return pd.DataFrame(columns, index=rows.index)
