"""The kinds of ledger rows. They hold digests, numbers and reasons, never rows of data."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Trigger = Literal["first", "schedule", "new_data", "code_change", "drift", "decay", "on_demand", "new_settings"]


class Commit(BaseModel):
    """The revision that wrote a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha: str
    time: str
    author: str
    clean: bool


class Row(BaseModel):
    """What every row carries. `recorded_at` is wall time, `event_time` the data's clock; the ledger fills in the envelope."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    actor: str = Field("ratchet", description="Who: 'ratchet', or the name a person gave.")
    run: str = Field("", description="Id of the Prefect flow run.")
    decision: str = ""
    event_time: datetime | None = None
    recorded_at: datetime | None = None
    commit: Commit | None = None
    lock: str = Field("", description="sha256 of uv.lock.")

    @property
    def once(self) -> str | None:
        """A key that may exist only once in the ledger, or None."""
        return None


class Finding(BaseModel):
    """One expectation that did not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expectation: str
    column: str = ""
    severity: Literal["critical", "warning", "error"]
    observed: str = ""
    expected: str = ""
    examples: tuple[str, ...] = ()


class BatchRow(Row):
    """A raw batch was taken or set aside. `ref` is its Parquet in the store, empty when it could not be read."""

    kind: Literal["batch"] = "batch"
    dataset: str
    batch: str
    verdict: Literal["accepted", "quarantined"]
    reason: str = ""
    rows: int = 0
    start: datetime | None = None
    end: datetime | None = None
    ref: str = ""
    suite: str = Field("", description="sha256 of the suite it was held against.")
    findings: tuple[Finding, ...] = ()


class WaiverRow(Row):
    """A person lets a quarantined batch in."""

    kind: Literal["waiver"] = "waiver"
    dataset: str
    batch: str
    ref: str
    reason: str


class WindowRow(Row):
    """A closed window of live traffic was judged."""

    kind: Literal["window"] = "window"
    model: str
    version: str
    window: str
    start: datetime
    end: datetime
    rows: int
    labelled: int = 0
    verdict: Literal["insufficient", "broken", "stable", "drift", "decay"]
    reason: str
    drift: dict[str, tuple[float, float]] = Field({}, description="Column: (score, threshold).")
    share: float | None = None
    performance: dict[str, float] = Field({}, description="metric: value, low, high, reference.")
    findings: tuple[Finding, ...] = ()
    report: str = Field("", description="Store ref of Evidently's own HTML report.")

    @property
    def final(self) -> bool:
        """True when the window is not judged again: too few or broken rows, or its labels were complete, which is when its performance names the reference."""
        return self.verdict in {"insufficient", "broken"} or "reference" in self.performance

    @property
    def once(self) -> str:
        """A window is judged once to the end, and at most once before its labels are complete."""
        return f"window:{self.model}:{self.window}:{'final' if self.final else 'early'}"


class AlertRow(Row):
    """Something a person should look at."""

    kind: Literal["alert"] = "alert"
    subject: str = Field(description="Model or dataset.")
    message: str


class ProposalRow(Row):
    """A trigger proposes to retrain; only the decision engine decides."""

    kind: Literal["proposal"] = "proposal"
    model: str
    trigger: Trigger
    window: str = ""
    reason: str
    settings: dict[str, Any] = Field({}, description="Training settings that differ from the spec's.")
    drill: Literal["none", "shuffled_labels"] = "none"


class DecisionRow(Row):
    """What the decision engine made of a proposal. Retrain decisions have an id of their own."""

    kind: Literal["decision"] = "decision"
    model: str
    trigger: Trigger
    window: str = ""
    action: Literal["retrain", "ignore"]
    reason: str
    proposal: int = Field(description="seq of the proposal.")
    settings: dict[str, Any] = {}
    drill: Literal["none", "shuffled_labels"] = "none"


class AttemptRow(Row):
    """A run took the lease on a decision; the attempt number is its fencing token. `run` is that run, or empty: then it is told by its key."""

    kind: Literal["attempt"] = "attempt"
    model: str
    attempt: int = Field(ge=1)
    lease_until: datetime


class GateResult(BaseModel):
    """Why a challenger was accepted or refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: bool
    reasons: tuple[str, ...]
    metric: str
    rows: int
    blocks: int
    champion: str = Field("", description="Version it was held against; empty: there was none.")
    scores: dict[str, float] = Field(description="Metric on the later rows: challenger, champion, simple, trivial.")
    gain: tuple[float, float, float] | None = Field(
        None, description="Low, median and high of the gain over the champion (without one: over the trivial model)."
    )
    slices: dict[str, tuple[int, float, float]] = Field({}, description="'column=value': rows, challenger, champion.")


class VersionRow(Row):
    """The one version a decision gave, accepted or refused."""

    kind: Literal["version"] = "version"
    model: str
    version: str
    attempt: int
    cutoff: datetime = Field(description="Event time of the newest training row; later rows are unseen.")
    seen_until: datetime = Field(description="Event time of the newest row of the snapshot, hold-out included.")
    snapshot: str = Field(description="Store ref of the list of batches.")
    code: str
    seed: int
    family: str
    params: dict[str, Any]
    trials: int
    rows: int
    format: Literal["onnx", "sklearn"]
    parity: str = Field(description="Outcome of the parity check, in words.")
    prediction_digest: str
    artefact: str = Field(description="Store ref of the folder of model files.")
    pipeline: str = Field("", description="Store ref of the pickled scikit-learn pipeline, to explain answers with; empty: it is in the artefact, or not kept.")
    bento: str = Field("", description="Store ref of the bento; empty when the gate refused.")
    reference: str = Field("", description="Store ref of the reference rows for drift, with the column `prediction`.")
    thresholds: dict[str, float] = Field({}, description="Drift threshold per column.")
    holdout_score: float
    gate: GateResult
    python: str
    cpu: str

    @property
    def once(self) -> str:
        """One version per decision."""
        return f"version:{self.decision}"


class ReleaseRow(Row):
    """A step of taking a version live."""

    kind: Literal["release"] = "release"
    model: str
    release: str = Field(description="Id of this release.")
    version: str
    step: Literal["started", "live", "undone"]
    reason: str
    previous: str = Field("", description="Version that was live before.")
    object: dict[str, Any] = Field({}, description="The release object that the target was given.")
    seconds: float | None = None


class ClosedRow(Row):
    """A decision has ended."""

    kind: Literal["closed"] = "closed"
    model: str
    outcome: Literal["promoted", "refused", "failed", "undone"]
    reason: str

    @property
    def once(self) -> str:
        """A decision ends once."""
        return f"closed:{self.decision}"


AnyRow = Annotated[
    BatchRow | WaiverRow | WindowRow | AlertRow | ProposalRow | DecisionRow | AttemptRow | VersionRow | ReleaseRow | ClosedRow,
    Field(discriminator="kind"),
]
ROWS: TypeAdapter[AnyRow] = TypeAdapter(AnyRow)
