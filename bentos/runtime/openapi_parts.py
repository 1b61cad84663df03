"""The parts that every operation of the OpenAPI document is made of: refusals, replies, parameters."""

from typing import Any

Json = dict[str, Any]
MOMENT = "2013-01-01T12:49:00+00:00"
REFUSALS: dict[int, tuple[str, dict[str, str]]] = {
    400: (
        "The request is not as the contract says.",
        {
            "header": "The request is ambiguous.",
            "json": "The body is not JSON: EOF while parsing a value at line 1 column 0.",
            "invalid": "1 field(s) of the request are wrong.",
            "unscorable": "1 row(s) cannot be scored.",
        },
    ),
    401: ("No key, or a wrong one.", {"key": "This path needs the predict key: Authorization: Bearer <key>."}),
    404: ("No such model or version.", {"model": "This server has another model or version."}),
    405: ("Not the method of this path; Allow names it.", {"method": "This path takes POST."}),
    408: ("The body took too long.", {"slow": "The body did not arrive within 10 s."}),
    409: ("A time is ahead of the server's clock; the same body may be right later.", {"skew": "1 time(s) lie more than 300 s ahead."}),
    413: ("The body is too large.", {"too_large": "The body may have 1,000,000 bytes; send fewer rows at a time."}),
    415: ("Not JSON, or compressed.", {"content_type": "The Content-Type must be application/json, and the body without a Content-Encoding."}),
    500: ("The server failed.", {"internal": "The server failed; its log says why, under the X-Request-ID."}),
    503: (
        "Not now; Retry-After says when to try again.",
        {
            "not_ready": "The model is not loaded yet, or not any more.",
            "overloaded": "64 requests are waiting already.",
            "crashed": "The model's process died over this request, or was silent for 10 s; it is started again.",
            "log": "The log cannot be written, and nothing is answered that is not logged.",
        },
    ),
}
CODES = [*(code for _, codes in REFUSALS.values() for code in codes), "path", "http"]  # the last two belong to no path
READS = (405, 500)
READY = (*READS, 503)
POSTS = (400, 401, 405, 408, 409, 413, 415, 500, 503)
TEXT = {"type": "string"}
FIELDS = {"type": "array", "items": {"type": "object", "required": ["path", "message"], "properties": {"path": TEXT, "message": TEXT}}}
HEADERS = {"X-Request-ID": {"description": "Names the request in the server's log.", "required": True, "schema": TEXT}}
REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Comes back with the reply if it is 1 to 128 of A-Z a-z 0-9 . _ : -; else the server makes one.",
    "schema": TEXT,
    "example": "order-7",
}


def ref(name: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(schema: str, example: Json) -> Json:
    """A request's body."""
    return {"required": True, "content": {"application/json": {"schema": ref(schema), "examples": {"sample": {"value": example}}}}}


def reply(title: str, schema: str | Json, example: Any, kind: str = "application/json") -> Json:
    """A response."""
    content = {"schema": ref(schema) if isinstance(schema, str) else schema, "examples": {"sample": {"value": example}}}
    return {"description": title, "headers": HEADERS, "content": {kind: content}}


def refusals(statuses: tuple[int, ...], v2: bool = False) -> Json:
    """The responses of refused requests, an example for each code."""
    found = {}
    for status in statuses:
        title, codes = REFUSALS[status]
        content = {"schema": ref("InferenceError" if v2 else "Error"), "examples": {code: {"value": _refusal(code, codes[code], v2)} for code in codes}}
        found[str(status)] = {"description": title, "headers": HEADERS, "content": {"application/json": content}}
    return found


def post(operation: str, summary: str, key: str, keyed: dict[str, bool], statuses: tuple[int, ...], v2: bool = False) -> Json:
    """A POST operation, but for its body and its answer."""
    security: list[Json] = [{key: []}] if keyed[key] else [{}, {key: []}]
    return {"operationId": operation, "summary": summary, "security": security, "parameters": [REQUEST_ID], "responses": refusals(statuses, v2)}


def get(operation: str, summary: str, example: Any, statuses: tuple[int, ...] = READS, kind: str = "application/json", v2: bool = False) -> Json:
    """A path that takes GET and needs no key."""
    schema = TEXT if isinstance(example, str) else {"type": "object", "required": [*example]}
    responses = {"200": reply(summary, schema, example, kind), **refusals(statuses, v2)}
    return {"get": {"operationId": operation, "summary": summary, "security": [], "parameters": [REQUEST_ID], "responses": responses}}


def _refusal(code: str, message: str, v2: bool) -> Json:
    fields = {
        "header": [{"path": "authorization", "message": "The header is there more than once."}],
        "invalid": [{"path": "rows.0.distance", "message": "The field is missing."}],
        "unscorable": [{"path": "rows.0", "message": "No finite score."}],
    }
    listed = fields.get(code, [])
    return {"error": message, "code": code, "fields": listed} if v2 else {"error": {"code": code, "message": message, "fields": listed}}
