"""What the local supervisor keeps and hears: the desired state, and the commands on its socket."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bentos.runtime.release import Release
from tasks.errors import PlatformError
from tasks.release.target import ServingStatus


class Part(BaseModel):
    """Base of what is kept and said."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Wanted(Part):
    """One model to serve."""

    release: Release
    bento: Path
    port: int


class Desired(Part):
    """Every model to serve. A release enters only once it has answered, so what is started again is known to work."""

    v: Literal[1] = 1
    models: dict[str, Wanted] = {}
    before: dict[str, Path] = Field({}, description="Bento that each model was served from before, kept so that a rollback needs no store.")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file; empty when there is none yet.

        Raises:
            PlatformError: it is damaged.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as err:
            raise PlatformError(
                f"The desired state in {path} cannot be read: {err.errors()[0]['msg']}", "Remove the file and release each model again."
            ) from err

    def save(self, path: Path) -> None:
        """Replace the file as a whole, on the disk when this returns."""
        part = path.with_suffix(".part")
        with part.open("w") as file:
            file.write(self.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def put(self, wanted: Wanted) -> "Desired":
        """With this release of its model in place of another."""
        name, old = wanted.release.model, self.models.get(wanted.release.model)
        before = {**self.before, name: old.bento} if old and old.bento != wanted.bento else self.before
        return Desired(models={**self.models, name: wanted}, before=before)

    def drop(self, model: str) -> "Desired":
        """Without this model."""
        models = {name: wanted for name, wanted in self.models.items() if name != model}
        return Desired(models=models, before={name: bento for name, bento in self.before.items() if name != model})


class Apply(Part):
    """Take a release live. Port 0: the model's own, or the first free one."""

    command: Literal["apply"] = "apply"
    release: Release
    bento: Path
    port: int = 0


class Status(Part):
    """Say how every model is served."""

    command: Literal["status"] = "status"


class Remove(Part):
    """Serve a model no more."""

    command: Literal["remove"] = "remove"
    model: str


class Stop(Part):
    """Answer what is under way, then end."""

    command: Literal["stop"] = "stop"


class Reply(Part):
    """What the supervisor answers. `error` is empty when the command was taken."""

    error: str = ""
    pid: int = 0
    models: dict[str, ServingStatus] = {}


Command = Annotated[Apply | Status | Remove | Stop, Field(discriminator="command")]
COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)
