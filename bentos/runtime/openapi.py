"""The OpenAPI document of an endpoint, made from the models that validate its requests: every path, every status, and an example of each."""

import orjson
from pydantic import BaseModel

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.openapi_parts import CODES, FIELDS, MOMENT, POSTS, READY, Json, get, json_body, post, reply
from bentos.runtime.openapi_v2 import infer_request, infer_response, v2_paths
from bentos.runtime.rows import FeedbackResponse, Models

ID = "01a20d6d-5cae-755f-b57a-e035cddb1574"


def render(endpoint: Endpoint) -> bytes:
    """The document of an endpoint, the same bytes for the same model, version and keys."""
    place, card, models = endpoint.place, endpoint.scorer.card, endpoint.models
    rows = list(models.sample) or [golden.row for golden in card.golden[:2]]
    keyed = {"predict": bool(place.predict_key), "feedback": bool(place.feedback_key)}
    return orjson.dumps(document(models, card.version, rows, keyed), option=orjson.OPT_INDENT_2)


def document(models: Models, version: str, rows: list[Json], keyed: dict[str, bool]) -> Json:
    """The document; `rows` are those of its example, `keyed` says whether a path asks for its key."""
    contract = models.contract
    return {
        "openapi": "3.1.0",
        "info": {
            "title": contract.name,
            "version": version,
            "description": f"Predictions of {contract.name}, a {contract.task} model. Each reply has an X-Request-ID, each refusal one shape; under /v2 it is the protocol's.",
        },
        "paths": {**_rows_paths(models, version, rows, keyed), **_operations(), **v2_paths(models, version, rows[0] if rows else {}, _answer(models), keyed)},
        "components": {"schemas": _schemas(models), "securitySchemes": {name: {"type": "http", "scheme": "bearer"} for name in keyed}},
    }


def _rows_paths(models: Models, version: str, rows: list[Json], keyed: dict[str, bool]) -> Json:
    name, answer = models.contract.name, _answer(models)
    answers = {"model": name, "version": version, "release": f"{name}-r1", "time": MOMENT, "answers": [answer] * len(rows)}
    labels = {"labels": [{"id": ID, "label": answer["prediction"], "time": MOMENT}]}
    predict = post("predict", f"Answer 1 to {models.max_rows:,} rows. Send an answer's id back to /feedback, with the outcome.", "predict", keyed, POSTS)
    feedback = post("feedback", "Take the true outcomes of answered rows: late, repeated or out of order.", "feedback", keyed, POSTS)
    predict |= {"requestBody": json_body("PredictRequest", {"rows": rows})}
    predict["responses"] = {"200": reply("The answers, in the order of the rows.", "PredictResponse", answers)} | predict["responses"]
    feedback |= {"requestBody": json_body("FeedbackRequest", labels)}
    feedback["responses"] = {"202": reply("The labels are on disk.", "FeedbackResponse", {"accepted": 1})} | feedback["responses"]
    return {"/predict": {"post": predict}, "/feedback": {"post": feedback}}


def _answer(models: Models) -> Json:
    """An example of an answer."""
    classes = models.contract.classes
    examples: Json = {"binary": (False, 0.125), "regression": (12.5, 12.5), "multiclass": (*classes[:1], [1.0, *[0.0] * len(classes[1:])])}
    prediction, score = examples[models.contract.task]
    return {"id": ID, "prediction": prediction, "score": score, "flags": []}


def _operations() -> Json:
    """Health, metrics, and the descriptions."""
    return {
        "/livez": get("livez", "The process runs.", {"alive": True}),
        "/healthz": get("healthz", "As /livez, under BentoML's name.", {"alive": True}),
        "/readyz": get("readyz", "The model is loaded, and gives its golden rows their scores.", {"ready": True}, READY),
        "/metrics": get("metrics", "Prometheus metrics.", "ratchet_predictions_total 1.0\n", READY, "text/plain"),
        "/docs.json": get("docs", "This document.", {"openapi": "3.1.0"}, READY),
        "/schema.json": get("schema", "BentoML's own description, for bentoml.SyncHTTPClient.", {"name": "model"}),
    }


def _schemas(models: Models) -> Json:
    text = {"type": "string"}
    facts = {"code": {"enum": CODES, "description": "One of a fixed set, which also labels the metric."}, "message": text, "fields": FIELDS}
    inference = {"error": text | {"description": "The message, with the first fields."}, "code": facts["code"], "fields": FIELDS}
    found: Json = {
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "object", "required": [*facts], "properties": facts}}},
        "InferenceError": {"type": "object", "required": [*inference], "properties": inference},
        "InferResponse": infer_response(models.contract),
    }
    parts: dict[str, type[BaseModel]] = {"PredictRequest": models.request, "PredictResponse": models.response}
    parts |= {"FeedbackRequest": models.feedback, "FeedbackResponse": FeedbackResponse}
    for name, model in parts.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {}) | {name: schema}
    return found | {"InferRequest": infer_request(models.contract, found["Row"])}
