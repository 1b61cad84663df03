"""What a place that serves models must be able to do, and what it says of each model."""

from datetime import datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from bentos.runtime.release import Release
from tasks.store import Store


class Pods(BaseModel):
    """The pods of a model on a cluster, and what each of them asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ready: int
    wanted: int
    cpu: str
    memory: str
    omp_threads: str = Field("", description="What numerical libraries were told; empty: nothing, so they take every core.")


class ServingStatus(BaseModel):
    """How one model is served. While another release is tried, only `tried` and `refused` speak of that one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str = ""
    release: str = Field("", description="Id of the release that answers, or answered last.")
    state: Literal["starting", "live", "down"] = Field(description="live: requests are answered. starting: a process comes up. down: see error.")
    port: int = 0
    pid: int = 0
    restarts: int = Field(0, description="How often a process of this release died and was replaced.")
    since: datetime = Field(description="Wall time since which the release has been in this state.")
    error: str = Field("", description="Why nothing answers.")
    tried: str = Field("", description="Id of the release that was asked for last.")
    refused: str = Field("", description="Why that one did not go live; empty while it is tried and when it did.")
    pods: Pods | None = Field(None, description="On a cluster only.")


class Target(Protocol):
    """Serves releases. Whatever fails, the release before goes on answering."""

    def apply(self, release: Release, store: Store) -> None:
        """Ask for a release; returns at once. Asking again for what answers already changes nothing.

        Raises:
            ReleaseError: it cannot even be tried.
        """

    def wait_ready(self, release: Release, timeout_seconds: float) -> None:
        """Return when the release answers.

        Raises:
            ReleaseError: it does not, with the cause.
        """

    def status(self) -> dict[str, ServingStatus]:
        """Status of every model that is or should be served, by name."""

    def addresses(self) -> dict[str, str]:
        """Base URL of each model's endpoint as flow runs reach it."""

    def remove(self, model: str) -> None:
        """Serve a model no more, when what is under way has been answered. A model that is not served is no error."""
