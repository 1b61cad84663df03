"""What authors write: the specs of datasets and models."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bentos.runtime.contract import RESERVED, Contract, Feature, Task

NAME = r"^[a-z][a-z0-9_]{0,40}$"
Metric = Literal["roc_auc", "log_loss", "accuracy", "mae", "rmse"]
TWO_WINDOWS = {"day": 2, "week": 14, "month": 62}  # days
METRICS: dict[Task, tuple[Metric, ...]] = {
    "binary": ("roc_auc", "log_loss", "accuracy"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("mae", "rmse"),
}


class Part(BaseModel):
    """Base of every part of a spec: frozen, and a key that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FolderSpec(Part):
    """Base of what a folder says of itself; its name is the folder's."""

    name: str = Field(pattern=NAME)
    folder: Path
    description: str = ""


class DatasetSpec(FolderSpec):
    """`expectations/<dataset>/dataset.toml`: where the data comes from and what time means in it."""

    source: str = Field("", description="CSV or Parquet path or glob (relative to the folder, or an fsspec URL) or SQL URL; empty: source.py.")
    query: str = Field("", description="SELECT statement, when the source is a SQL URL.")
    time: str = Field("", description="Column with the event time; empty: the order of the rows counts as time.")
    entity: tuple[str, ...] = Field((), description="Columns that with the time name one row; of duplicates the last ingested wins.")
    outcome: tuple[str, ...] = Field((), description="Columns known only after the event: labels and whatever came with them.")
    label_delay_days: float = Field(0, ge=0, description="How long after a row's time its label is complete.")
    period: Literal["day", "week", "month", "all"] = Field("all", description="What one batch covers.")
    first: tuple[str, ...] = Field((), description="Batches that a new installation ingests by itself.")
    personal: tuple[str, ...] = Field((), description="Columns that name a person.")


class Label(Part):
    """What the model predicts: a raw column, for binary tasks made true or false."""

    column: str
    above: float | None = Field(None, description="Binary: true when the column is greater than this.")
    positive: str | None = Field(None, description="Binary: true when the column, as text, equals this.")


class Search(Part):
    """Budget of the hyper-parameter search, in trials and rows, never in seconds."""

    trials: int = Field(10, ge=1, le=1000)
    rows: int = Field(30_000, ge=50, description="Newest training rows used by the trials; the final fit uses all.")


class Gate(Part):
    """When a challenger replaces the champion."""

    metric: Metric
    min_effect: float = Field(0.0, ge=0, description="The lower bound of the gain must exceed this, in units of the metric.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="One-sided confidence of the lower bound.")
    draws: int = Field(500, ge=100, le=10_000)
    block: Literal["day", "entity", "row"] = Field("day", description="What is resampled together, because rows are not independent.")
    holdout_days: float = Field(0, ge=0, description="Newest days kept from training and used by the gate; 0: use holdout_share.")
    holdout_share: float = Field(0.2, gt=0, lt=0.9, description="Newest share of the rows kept from training, when holdout_days is 0.")
    min_rows: int = Field(100, ge=10, description="Fewer common later rows than this and nothing is promoted.")
    slice_min_rows: int = Field(500, ge=30, description="Slices with fewer rows are reported, not judged.")
    slice_tolerance: float = Field(0.02, ge=0, description="How much worse the challenger may be on a slice, in units of the metric.")
    trusted: tuple[str, ...] = Field((), description="Features that may explain the label almost alone without being taken for a leak.")


class Monitoring(Part):
    """How live traffic is watched."""

    window: Literal["day", "week", "month"] = "day"
    min_rows: int = Field(2_000, ge=30, description="Fewer answered rows in a window and it is called insufficient.")
    sample: int = Field(20_000, ge=200, description="Rows of a window and of the reference that drift is computed on.")
    drift_share: float = Field(0.5, gt=0, le=1, description="A window drifts when at least this share of its columns does.")
    threshold_factor: float = Field(1.1, gt=0, description="Drift threshold of a column: this times the quantile of block against rest.")
    threshold_quantile: float = Field(0.95, gt=0.5, lt=1, description="Quantile of block against rest in the reference.")
    threshold_floor: float = Field(0.1, ge=0)
    decay: float = Field(0.05, gt=0, description="A window decays when the metric is worse than on the hold-out by more than this, surely.")
    min_labels: int = Field(500, ge=30, description="Fewer labels in a window and performance is not judged.")


class Triggers(Part):
    """What a finding leads to, and how often."""

    drift: Literal["retrain", "alert"] = "alert"
    decay: Literal["retrain", "alert"] = "retrain"
    new_data: Literal["retrain", "ignore"] = "ignore"
    code_change: Literal["retrain", "ignore"] = "ignore"
    k: int = Field(1, ge=1, description="Retrain when k of the last n judged windows had the finding.")
    n: int = Field(1, ge=1)
    cooldown_days: float = Field(0, ge=0, description="By the data's clock, since the last decision to retrain.")
    daily_budget: int = Field(3, ge=1, description="Decisions to retrain per day of the data's clock.")

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.k > self.n:
            raise ValueError(f"k ({self.k}) is greater than n ({self.n})")
        return self


class Resources(Part):
    """What a pod asks of a cluster; one machine has no use for it. Memory is request and limit, CPU a request only."""

    cpu: str = Field("1", pattern=r"^\d+m?$", description="Cores, or thousandths of one: 500m.")
    memory: str = Field("2Gi", pattern=r"^\d+[MG]i$")


class Training(Resources):
    """What a training's pod asks of a cluster."""

    deadline_seconds: int = Field(3600, ge=60, description="A training's pod that runs longer is ended.")


class Serving(Resources):
    """How the endpoint runs."""

    cpu: str = Field("500m", pattern=r"^\d+m?$", description="Cores, or thousandths of one: 500m.")
    memory: str = Field("1Gi", pattern=r"^\d+[MG]i$")
    replicas: int = Field(2, ge=1, le=100, description="On a cluster: pods at least.")
    max_replicas: int = Field(4, ge=1, le=100, description="On a cluster: pods at most, when they are busy.")
    max_rows: int = Field(1_000, ge=1, le=10_000)
    slot: int | None = Field(None, ge=0, le=99, description="Port of the endpoint, counted from the first; none: the next free one.")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.replicas > self.max_replicas:
            raise ValueError(f"replicas ({self.replicas}) is greater than max_replicas ({self.max_replicas})")
        return self


class Log(Part):
    """How long the lines of the prediction and feedback logs are kept."""

    keep_days: int = Field(
        400, ge=1, le=36_500, description="By the wall clock, since they were written. The default lets a year be held against the year before."
    )


class ModelSpec(FolderSpec):
    """`bentos/<model>/model.toml`: everything the engine needs to know of a model."""

    dataset: str
    task: Task
    label: Label
    classes: tuple[str, ...] = ()
    threshold: float = Field(0.5, gt=0, lt=1)
    features: dict[str, Feature] = Field(min_length=1)
    slices: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    seed: int = 0
    search: Search = Search()
    training: Training = Training()
    gate: Gate
    monitoring: Monitoring = Monitoring()
    triggers: Triggers = Triggers()
    serving: Serving = Serving()
    log: Log = Log()
    schedule: str = Field("", description="Cron of scheduled retraining, UTC; empty: none.")

    @property
    def contract(self) -> Contract:
        """The part that ships with the model."""
        return Contract(name=self.name, task=self.task, features=self.features, classes=self.classes, threshold=self.threshold)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.gate.metric not in METRICS[self.task]:
            problems.append(f"gate.metric {self.gate.metric!r} does not suit a {self.task} task (known: {', '.join(METRICS[self.task])})")
        if self.task == "binary" and (self.label.above is None) == (self.label.positive is None):
            problems.append("a binary label needs exactly one of label.above and label.positive")
        if self.task != "binary" and (self.label.above is not None or self.label.positive is not None):
            problems.append("label.above and label.positive are for binary tasks")
        if (self.task == "multiclass") != (len(self.classes) > 2):
            problems.append("a multiclass task, and no other, lists three or more `classes`")
        problems += [
            f"{key} names {name!r}, which is no feature" for key in ("slices", "sensitive") for name in getattr(self, key) if name not in self.features
        ]
        problems += [f"feature {name!r} has a reserved name" for name in RESERVED if name in self.features]
        if self.log.keep_days < (least := TWO_WINDOWS[self.monitoring.window]):
            problems.append(f"log.keep_days is {self.log.keep_days}, and two monitoring windows of a {self.monitoring.window} take {least}: keep more days")
        if problems:
            raise ValueError("; ".join(problems))
        return self
