"""The input and output tensors of the Open Inference Protocol v2: their values in JSON, and in the bytes of its binary extension."""

from functools import cache
from http import HTTPStatus
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from bentos.runtime.errors import Field, Refused

Datatype = Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64", "BYTES"]
JSON_KINDS: dict[str, set[type]] = {"BOOL": {bool}, "BYTES": {str}, "INT": {int, float}, "UINT": {int, float}, "FP": {float, int}}
WHOLE = ("INT", "UINT")
STRICT = ConfigDict(strict=True, extra="forbid")


class Tensor(BaseModel):
    """An input; its values are `data`, or `binary_data_size` bytes behind the JSON."""

    model_config = STRICT

    name: str
    shape: list[int]
    datatype: Datatype
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


def values_of(tensor: Tensor, binary: bytes) -> tuple[list[Any], bytes]:
    """A tensor's values, as many as its shape says, and the binary data behind its own."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return _of_json(tensor), binary
    if tensor.data is not None or type(size) is not int or not 0 <= size <= len(binary):
        raise wrong(tensor, "The binary_data_size is more than there are data behind the JSON, or there are `data` too.")
    return _filling(tensor, _of_binary(tensor, binary[:size])), binary[size:]


def _filling(tensor: Tensor, values: list[Any]) -> list[Any]:
    if len(values) != tensor.shape[0]:
        raise wrong(tensor, f"{len(values)} values do not fill the shape.")
    return values


def _of_json(tensor: Tensor) -> list[Any]:
    if tensor.data is None:
        raise wrong(tensor, "The tensor has neither `data` nor a binary_data_size.")
    values = _filling(tensor, tensor.data)
    if len(tensor.shape) == 2 and all(type(part) is list and len(part) == 1 for part in values):  # [[1], [2]] for [1, 2], as the protocol allows
        values = [value for (value,) in values]
    if not _fit(tensor.datatype, values):
        at = next(at for at, value in enumerate(values) if not _fit(tensor.datatype, [value]))
        raise wrong(tensor, f"The value is not {tensor.datatype}: {_held(tensor.datatype)}.", at)
    return values


def _fit(datatype: str, values: list[Any]) -> bool:
    """Whether a datatype can hold all of these values of JSON, where 5.0 is 5; null, NaN and the infinities among floats are the contract's to judge."""
    kind = _kind(datatype)
    present = [value for value in values if value is not None] if None in values else values
    types = {*map(type, present)}
    if not types <= JSON_KINDS[kind]:
        return False
    if kind in {"BOOL", "BYTES"}:
        return True
    if kind == "FP":
        present = [value for value in present if value - value == 0]  # the finite; math.isfinite fails on an integer that is no float
    elif float in types and not all(map(float.is_integer, [value for value in present if type(value) is float])):
        return False
    least, most = limits(datatype)
    return not present or (least <= min(present) and max(present) <= most)


@cache
def limits(datatype: str) -> tuple[float, float]:
    """The least and the greatest finite number of a datatype; of integers exact."""
    if _kind(datatype) in WHOLE:
        whole = np.iinfo(_layout(datatype))
        return int(whole.min), int(whole.max)
    most = float(np.finfo(_layout(datatype)).max)
    return -most, most


def _held(datatype: str) -> str:
    """What a datatype holds, for a message."""
    kind = _kind(datatype)
    if kind in {"BOOL", "BYTES"}:
        return {"BOOL": "true or false", "BYTES": "a string"}[kind]
    least, most = limits(datatype)
    return f"a whole number from {least} to {most}" if kind in WHOLE else f"a number from {least:.6g} to {most:.6g}"


def _of_binary(tensor: Tensor, data: bytes) -> list[Any]:
    """Values one after the other, numbers little-endian; each of BYTES has its length before it, in four bytes."""
    if tensor.datatype != "BYTES":
        layout = np.dtype(_layout(tensor.datatype))
        if len(data) % layout.itemsize:
            raise wrong(tensor, f"{len(data)} bytes are not a whole number of {tensor.datatype}, which has {layout.itemsize}.")
        numbers: list[Any] = np.frombuffer(data, layout).tolist()
        return numbers
    found: list[Any] = []
    at = 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise wrong(tensor, "The binary data end inside the value; each of BYTES has its length before it, in four bytes.", len(found))
        try:
            found.append(data[start:at].decode())
        except UnicodeDecodeError:
            raise wrong(tensor, "The value is not text in UTF-8.", len(found)) from None
    return found


def _kind(datatype: str) -> str:
    return datatype.rstrip("0123456789")


def _layout(datatype: str) -> str:
    """NumPy's name of a datatype."""
    kind = _kind(datatype)
    return "?" if kind == "BOOL" else f"<{kind[0].lower()}{int(datatype[len(kind) :]) // 8}"


def to_binary(datatype: str, values: list[Any]) -> bytes:
    """Values as `_of_binary` reads them."""
    if datatype != "BYTES":
        return np.asarray(values, _layout(datatype)).tobytes()
    return b"".join(len(data).to_bytes(4, "little") + data for data in (value.encode() for value in values))


def wrong(tensor: Tensor, message: str, at: int | None = None) -> Refused:
    """What a caller is told of a tensor that is not as it must be, or of its value at a place."""
    name = tensor.name[:100].encode(errors="replace").decode()
    path = f"inputs.{name}" if at is None else f"inputs.{name}.data.{at}"
    return Refused(HTTPStatus.BAD_REQUEST, "invalid", "A tensor of the request is wrong.", [Field(path=path, message=message)])
