"""The release object: what a target is told to run, immutable and complete."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Release(BaseModel):
    """One release of one model. References are `sha256:<hex><suffix>`; a server loads only bytes that match them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    id: str
    model: str
    version: str
    mode: Literal["full"] = "full"
    bento: str
    artefact: str
    lock: str = ""
    contract: Literal[1] = 1
