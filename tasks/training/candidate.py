"""What the stages of one training found: a model that may become a version."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.ledger.rows import GateResult, VersionRow
from tasks.store import Ref
from tasks.training.job import Job
from tasks.training.search import SearchResult, TrialResult


class Fitted(BaseModel):
    """A fitted and exported model, in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    cutoff: datetime
    seen_until: datetime
    family: str
    params: dict[str, Any]
    rows: int
    format: Literal["onnx", "sklearn"]
    parity: str
    prediction_digest: str
    artefact: Ref
    pipeline: str = ""
    reference: Ref
    holdout_score: float
    python: str
    cpu: str


class Candidate(BaseModel):
    """All that a version row says of a training, but for the attempt, the bento and the drift thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    snapshot: Ref
    code: str
    seed: int
    search: SearchResult
    fitted: Fitted
    gate: GateResult

    @property
    def trials(self) -> tuple[TrialResult, ...]:
        """What the search tried."""
        return self.search.trials

    def row(
        self, attempt: int, decision: str, run: str = "", actor: str = "ratchet", bento: Ref | None = None, thresholds: dict[str, float] | None = None
    ) -> VersionRow:
        """The row to register. Its event time is that of the newest row that was seen."""
        return VersionRow(
            **self.fitted.model_dump(exclude={"artefact", "reference"}),
            model=self.model,
            attempt=attempt,
            decision=decision,
            run=run,
            actor=actor,
            event_time=self.fitted.seen_until,
            snapshot=str(self.snapshot),
            code=self.code,
            seed=self.seed,
            trials=len(self.trials),
            artefact=str(self.fitted.artefact),
            reference=str(self.fitted.reference),
            bento=str(bento) if bento else "",
            thresholds=thresholds or {},
            gate=self.gate,
        )


def candidate(job: Job, found: SearchResult, fitted: Fitted, gate: GateResult) -> Candidate:
    """Put together what the stages found."""
    return Candidate(model=job.spec.name, snapshot=job.snapshot, code=job.code, seed=job.spec.seed, search=found, fitted=fitted, gate=gate)
