"""The part of the OpenAPI document that is the Open Inference Protocol."""

from typing import Any

from bentos.runtime.contract import Contract
from bentos.runtime.inference_v2 import BESIDE, SERVER, blanks, datatype_of, outputs_of
from bentos.runtime.openapi_parts import MOMENT, POSTS, READY, REQUEST_ID, TEXT, Json, get, json_body, post, reply
from bentos.runtime.rows import Models
from bentos.runtime.tensors_v2 import limits

ONE_ROW = "A tensor has a shape [n] or [n, 1] and n values. A schema cannot say that the two belong together, so this one describes requests of one row."


def v2_paths(models: Models, version: str, row: Json, answer: Json, keyed: dict[str, bool]) -> Json:
    """The paths of the protocol; `row` and `answer` are those of its example."""
    name = models.contract.name
    paths = {
        "/v2": get("v2Server", "The server, and what it can do beyond the protocol.", SERVER, v2=True),
        "/v2/health/live": get("v2Live", "The process runs.", {"alive": True}, v2=True),
        "/v2/health/ready": get("v2Ready", "The model is loaded.", {"ready": True}, READY, v2=True),
    }
    for prefix, suffix, named in (
        ("/v2/models/{name}", "", {"name": name}),
        ("/v2/models/{name}/versions/{version}", "Version", {"name": name, "version": version}),
    ):
        parameters = [
            *({"name": key, "in": "path", "required": True, "schema": {"enum": [value]}, "example": value} for key, value in named.items()),
            REQUEST_ID,
        ]
        metadata = {"name": name, "versions": [version], "platform": "onnxruntime_onnx", "inputs": [], "outputs": []}
        found = {
            prefix: get(f"v2Model{suffix}", "Names, datatypes and shapes of the model's tensors.", metadata, (404, *READY), v2=True),
            f"{prefix}/ready": get(f"v2ModelReady{suffix}", "The model is loaded.", {"name": name, "ready": True}, (404, *READY), v2=True),
            f"{prefix}/infer": {"post": _infer(f"v2Infer{suffix}", models, version, row, answer, keyed)},
        }
        for path in found.values():
            next(iter(path.values()))["parameters"] = parameters
        paths |= found
    return paths


def infer_request(contract: Contract, row: Json) -> Json:
    """Schema of an infer request; `row` is that of a row of /predict, whose values it shares."""
    inputs = [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "shape", "datatype", "data"],
            "properties": {
                "name": {"const": name},
                "shape": {"const": [1]},
                "datatype": {"const": datatype_of(name, contract)},
                "data": {"type": "array", "items": _value(name, row["properties"][name], contract), "minItems": 1, "maxItems": 1},
            },
        }
        for name in _ordered(contract)
    ]
    wanted = {"type": "object", "additionalProperties": False, "required": ["name"], "properties": {"name": {"enum": [*outputs_of(contract)]}}}
    return {
        "type": "object",
        "description": ONE_ROW,
        "additionalProperties": False,
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 1_000, "description": "Comes back with the answer."},
            "inputs": {"type": "array", "prefixItems": inputs, "items": False, "minItems": len(inputs), "maxItems": len(inputs)},
            "outputs": {"type": "array", "items": wanted, "maxItems": len(outputs_of(contract)), "description": "The outputs to give; left out: all."},
        },
    }


def _value(name: str, schema: Json, contract: Contract) -> Json:
    """A value of a tensor: as in a row, or the empty string for null where that is allowed; of floats for booleans, 0 or 1; no more than its datatype holds."""
    feature = contract.features.get(name)
    if feature and feature.type == "boolean" and feature.nullable:
        return {"enum": [0, 1, None]}
    if datatype_of(name, contract) == "INT64":
        schema = schema | dict(zip(("minimum", "maximum"), limits("INT64"), strict=True))
    return {"anyOf": [schema, {"const": ""}]} if name in blanks(contract) else schema


def infer_response(contract: Contract) -> Json:
    """Schema of an infer response."""
    shape = {"type": "array", "items": {"type": "integer"}}
    output = {"name": {"enum": [*outputs_of(contract)]}, "shape": shape, "datatype": TEXT, "data": {"type": "array"}, "parameters": {"type": "object"}}
    outputs = {"type": "array", "items": {"type": "object", "required": ["name", "shape", "datatype"], "properties": output}}
    about = {"type": "object", "required": ["release", "time"], "properties": {"release": TEXT, "time": TEXT}}
    properties = {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "parameters": about, "outputs": outputs}
    return {"type": "object", "required": ["model_name", "model_version", "parameters", "outputs"], "properties": properties}


def _ordered(contract: Contract) -> list[str]:
    """The inputs of the schema: those that may be left out first, since it names them by their place."""
    return [*BESIDE, *sorted(contract.features, key=lambda name: not contract.features[name].nullable)]


def _infer(operation: str, models: Models, version: str, row: Json, answer: Json, keyed: dict[str, bool]) -> Json:
    contract = models.contract
    found = post(operation, "Answer rows, as /predict does.", "predict", keyed, tuple(sorted((*POSTS, 404))), v2=True)
    inputs = [_tensor(name, datatype_of(name, contract), row[name]) for name in _ordered(contract) if row.get(name) is not None]
    outputs = [_tensor(name, datatype, answer[name] if name != "flags" else "[]") for name, (datatype, _) in outputs_of(contract).items()]
    example = {"model_name": contract.name, "model_version": version, "id": "order-7", "parameters": {"release": f"{contract.name}-r1", "time": MOMENT}}
    answered = reply("The answers.", "InferResponse", example | {"outputs": outputs})
    answered["content"]["application/octet-stream"] = {"schema": {}}
    return found | {"requestBody": json_body("InferRequest", {"id": "order-7", "inputs": inputs}), "responses": {"200": answered} | found["responses"]}


def _tensor(name: str, datatype: str, value: Any) -> Json:
    value = int(value) if datatype == "FP64" and isinstance(value, bool) else value
    many = isinstance(value, list)
    return {"name": name, "shape": [1, len(value)] if many else [1], "datatype": datatype, "data": value if many else [value]}
