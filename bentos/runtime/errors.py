"""What a caller is told when a request is not answered: one JSON shape, and never a value out of the request.

The Open Inference Protocol wants a string as `error`, which is all that its clients show; there the same facts stand beside it.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

Header = tuple[bytes, bytes]
SHOWN = 20  # fields listed in one reply
WIDTH = 300  # characters of a path or a message


class Field(BaseModel):
    """One part of a request that is wrong."""

    path: str
    message: str


class Refused(Exception):
    """A request is not answered. `code` is one of a fixed set, so that it can label a metric; `headers` go into the reply."""

    def __init__(self, status: HTTPStatus, code: str, message: str, fields: Sequence[Field] = (), headers: tuple[Header, ...] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields, self.headers = status, code, message, tuple(fields), headers

    @property
    def body(self) -> bytes:
        """The reply's bytes."""
        return orjson.dumps({"error": {"code": self.code, "message": self.message, "fields": self._listed}})

    @property
    def v2_body(self) -> bytes:
        """The reply's bytes on the paths of the Open Inference Protocol."""
        shown = "".join(f" {field.path}: {field.message}" for field in self.fields[:3])
        return orjson.dumps({"error": self.message + shown, "code": self.code, "fields": self._listed})

    @property
    def _listed(self) -> list[dict[str, str]]:
        return [{"path": field.path, "message": field.message} for field in self.fields]


def invalid(err: ValidationError) -> Refused:
    """What a caller is told of a body that is not as the contract says."""
    found = err.errors(include_input=False, include_context=False, include_url=False)
    if found[0]["type"] == "json_invalid":
        return Refused(HTTPStatus.BAD_REQUEST, "json", f"The body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}.")
    fields = [Field(path=_path(error), message=_message(error)) for error in found[:SHOWN]]
    more = "" if len(found) <= SHOWN else f"; the first {SHOWN} are listed"
    return Refused(HTTPStatus.BAD_REQUEST, "invalid", f"{len(found)} field(s) of the request are wrong{more}.", fields)


def _path(error: Any) -> str:
    return ".".join(str(part) for part in error["loc"])[:WIDTH].encode(errors="replace").decode()


def _message(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "There is no such field."
        case "missing":
            return "The field is missing."
        case _:
            return str(error["msg"]).removeprefix("Value error, ")[:WIDTH]
