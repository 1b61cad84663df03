"""The Open Inference Protocol v2: its tensors to rows, and answers to its tensors. The rows are validated, scored and logged as those of /predict.

A request has one tensor per feature, of shape [n] or [n, 1], and may have `event_time` and `entity`. The protocol knows no null. Here it is NaN in a tensor
of floats, the empty string in one of BYTES whose feature may be null, null in JSON, or a tensor left out. A tensor of floats may hold booleans, as 0 and 1:
with nulls among them there is no other form.
"""

from http import HTTPStatus
from time import perf_counter_ns
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, Field, ValidationError

from bentos.runtime.card import Card
from bentos.runtime.contract import Contract
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Field as Wrong
from bentos.runtime.errors import Refused, invalid
from bentos.runtime.tensors_v2 import STRICT, Tensor, to_binary, values_of, wrong

SERVER = {"name": "ratchet", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
BOOLEANS = {0.0: False, 1.0: True}
BESIDE = ("event_time", "entity")  # what a row may have beside its features
MOST_TENSORS = 10_000  # a megabyte of empty ones would be a million errors, 1.6 s and 1 GB


class Wanted(BaseModel):
    """An output that the client asks for."""

    model_config = STRICT

    name: Literal["prediction", "score", "id", "flags"]
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """The JSON of a request."""

    model_config = STRICT

    id: str = Field("", max_length=1_000)
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(min_length=1, max_length=MOST_TENSORS)
    outputs: list[Wanted] = Field([], max_length=4)  # each at most once; a thousand times the ids of a thousand rows would be 40 MB


class Inferred(NamedTuple):
    """A reply; its first `json_size` bytes are JSON when binary tensors follow."""

    body: bytes
    json_size: int | None = None


def model_metadata(card: Card) -> dict[str, Any]:
    """What GET /v2/models/{name} says."""
    inputs = [*card.contract.features, *BESIDE]
    return {
        "name": card.name,
        "versions": [card.version],
        "platform": {"onnx": "onnxruntime_onnx", "sklearn": "sklearn"}[card.format],
        "inputs": [{"name": name, "datatype": datatype_of(name, card.contract), "shape": [-1]} for name in inputs],
        "outputs": [{"name": name, "datatype": datatype, "shape": [-1, *tail]} for name, (datatype, tail) in outputs_of(card.contract).items()],
    }


def datatype_of(name: str, contract: Contract) -> str:
    """The usual datatype of an input; INT64 and BOOL have no NaN, so an integer or a boolean that may be null is FP64."""
    feature = contract.features.get(name)
    if feature is None or feature.type == "category":
        return "BYTES"
    return "FP64" if feature.nullable else {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}[feature.type]


def outputs_of(contract: Contract) -> dict[str, tuple[str, list[int]]]:
    """Datatype of each output and its shape behind [n]; `flags` are JSON lists."""
    prediction = {"binary": "BOOL", "multiclass": "BYTES", "regression": "FP64"}[contract.task]
    tail = [len(contract.classes)] if contract.task == "multiclass" else []
    return {"prediction": (prediction, []), "score": ("FP64", tail), "id": ("BYTES", []), "flags": ("BYTES", [])}


def blanks(contract: Contract) -> set[str]:
    """The inputs in which the empty string stands for null."""
    return {name for name, feature in contract.features.items() if feature.nullable and feature.type == "category"} | {*BESIDE}


def infer(endpoint: Endpoint, body: bytes, json_size: int | None) -> Inferred:
    """Reply to the body of an infer request whose first `json_size` bytes are JSON; None: all of it.

    Raises:
        Refused: it is not answered.
    """
    started = perf_counter_ns()
    try:
        request = InferRequest.model_validate_json(body[:json_size])
    except ValidationError as err:
        raise invalid(err) from None  # the original holds the caller's values
    _check_outputs(request)
    rows = _rows(request, body[len(body) if json_size is None else json_size :], endpoint)
    reply = _reply(request, endpoint.answer_rows(rows, started), endpoint.models.contract)
    endpoint.metrics.latency.observe((perf_counter_ns() - started) / 1e9)
    return reply


def _check_outputs(request: InferRequest) -> None:
    """Refuse what would change an output's form; other parameters are hints, and are passed over."""
    unknown = {"classification", "shared_memory_region"}
    fields = [
        Wrong(path=f"outputs.{out.name}", message="Neither classification nor shared memory is offered.")
        for out in request.outputs
        if unknown & {*out.parameters}
    ]
    if fields:
        raise Refused(HTTPStatus.BAD_REQUEST, "invalid", "An output cannot be given as asked.", fields)


def _rows(request: InferRequest, binary: bytes, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The rows of a request; what they hold is for the contract's model to judge."""
    columns: dict[str, list[Any]] = {}
    contract, size = endpoint.models.contract, request.inputs[0].shape[:1]
    blank = blanks(contract)
    for tensor in request.inputs:
        if tensor.name in columns:
            raise wrong(tensor, "There are two tensors of this name.")
        if tensor.shape not in (size, [*size, 1]) or not size or not 0 < size[0] <= endpoint.models.max_rows:
            raise wrong(tensor, f"The shape must be [n] or [n, 1], n the same in all tensors and 1 to {endpoint.models.max_rows:,}.")
        values, binary = values_of(tensor, binary)
        values = [None if value != value or (value == "" and tensor.name in blank) else value for value in values]
        feature = contract.features.get(tensor.name)
        floats = feature is not None and feature.type == "boolean" and tensor.datatype.startswith("FP")
        columns[tensor.name] = [BOOLEANS.get(value, value) for value in values] if floats else values
    if binary:
        raise Refused(HTTPStatus.BAD_REQUEST, "invalid", "There are more binary data than the tensors' binary_data_size add up to.")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _reply(request: InferRequest, reply: dict[str, Any], contract: Contract) -> Inferred:
    answers, offered = reply["answers"], outputs_of(contract)
    outputs, binary = [], []
    for wanted in request.outputs or [Wanted(name=name) for name in offered]:
        datatype, tail = offered[wanted.name]
        output: dict[str, Any] = {"name": wanted.name, "shape": [len(answers), *tail], "datatype": datatype}
        values = _flat(wanted.name, [answer[wanted.name] for answer in answers])
        if wanted.parameters.get("binary_data", request.parameters.get("binary_data_output")) is True:
            binary.append(to_binary(datatype, values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = values
        outputs.append(output)
    about = {"release": reply["release"], "time": reply["time"]}
    named = {"model_name": reply["model"], "model_version": reply["version"]} | ({"id": request.id} if request.id else {})
    head = orjson.dumps({**named, "parameters": about, "outputs": outputs})
    return Inferred(b"".join([head, *binary]), len(head)) if binary else Inferred(head)


def _flat(name: str, values: list[Any]) -> list[Any]:
    """An output's values in one list."""
    if name == "flags":
        return [orjson.dumps(flags).decode() for flags in values]
    return [part for value in values for part in value] if isinstance(values[0], list) else values
