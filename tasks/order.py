"""An order to train: what the flow hands from the decision engine to the training steps."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Drill = Literal["none", "shuffled_labels"]


class TrainingSettings(BaseModel):
    """What may differ from the model's spec in one training. Zero and -1 mean: as the spec says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(0, ge=0, le=1000, title="Trials", description="Trials of the search. 0 takes the spec's number.")
    rows: int = Field(0, ge=0, title="Rows of a trial", description="Newest rows each trial sees. 0 takes the spec's number.")
    seed: int = Field(-1, ge=-1, title="Seed", description="Seed of search and estimators. -1 takes the spec's.")
    reason: str = Field("", title="Reason", description="Why you start this training. The ledger keeps it.")
    approver: str = Field("", title="Your name", description="Who starts it. The ledger keeps it.")

    def differs(self) -> bool:
        """True when this training is not the one that the spec describes."""
        return bool(self.changed().keys() - {"reason", "approver"})

    def changed(self) -> dict[str, Any]:
        """Only what differs from the spec, for the ledger."""
        return self.model_dump(exclude_defaults=True)


class Order(BaseModel):
    """One granted attempt at a decision to train, or the reason why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    decision: str = ""
    attempt: int = 0
    settings: TrainingSettings = TrainingSettings()
    drill: Drill = "none"
    run: str = ""
    refused: str = Field("", description="Why nothing is trained; empty when the attempt was granted.")
