"""The outermost ASGI layer of every endpoint: which paths there are, who may call, how much, and what a refusal looks like.

It answers nearly everything itself, since BentoML's HTTP layer costs more than everything else about a request.
"""

import asyncio
import hmac
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import orjson

from bentos.runtime.body import CLOSE, Disconnected, Message, Receive, read, spill, too_large
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Field, Header, Refused
from bentos.runtime.ids import Uuid7
from bentos.runtime.inference_v2 import SERVER, infer, model_metadata
from bentos.runtime.openapi import render
from bentos.runtime.patience import Patience

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answered = TypeVar("Answered")

MAX_BODY = 1_000_000  # bytes
BODY_SECONDS = 10.0  # for a caller to send its body
MAX_WAITING = 64  # requests that wait for the thread
INLINE_BODY = 32_000  # bytes, about a hundred rows: scored in a millisecond; longer ones would keep others waiting, and go to the thread
BENTOML = "/schema.json"  # what its client reads; not its page at /, which loads a tag manager from the Internet
V2_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<action>ready|infer))?")
JSON_SIZE = b"inference-header-content-length"  # of a v2 body whose tensors follow its JSON as bytes
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")
PREDICT_KINDS = frozenset({b"application/json"})
V2_KINDS = PREDICT_KINDS | {b"application/octet-stream", b""}  # tritonclient names none
TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")  # Prometheus'
AGAIN = (b"retry-after", b"1")
READ = frozenset({b"authorization", b"content-type", b"content-encoding", JSON_SIZE})  # headers that decide what happens to a request
log = logging.getLogger(__name__)


class Reply(NamedTuple):
    """A whole response."""

    body: bytes
    status: int = 200
    kind: Header = JSON
    extra: tuple[Header, ...] = ()


class Guard:
    """Wraps the app of a BentoML service. `endpoint` gives None until the service is made."""

    def __init__(self, app: App, endpoint: Callable[[], Endpoint | None]) -> None:
        self.app = app
        self.endpoint = endpoint
        self.request_ids = Uuid7()
        self.routes = {
            "/predict": self._predict,
            "/feedback": self._feedback,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/healthz": self._livez,
            "/metrics": self._metrics,
            "/docs.json": self._docs,
            "/v2": self._v2_server,
            "/v2/health/live": self._livez,
            "/v2/health/ready": self._readyz,
        }
        self.document: bytes | None = None
        self.thread = asyncio.Semaphore(1)
        self.waiting = 0
        self.patience = Patience(BODY_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = (b"x-request-id", given if REQUEST_ID.fullmatch(given) else self.request_ids().encode())
        route = self.routes.get(scope["path"])
        try:
            if route is None:
                if scope["path"] == BENTOML:
                    await self._bentoml(scope, receive, send, request_id)
                    return
                route = self._v2_model
            reply = await route(scope, headers, receive)
        except Disconnected:
            if endpoint := self.endpoint():
                endpoint.metrics.drop("disconnected")
            return
        except Refused as refused:
            reply = self._refusal(refused, scope)
        except Exception as err:  # noqa: BLE001  # the last resort: the caller learns nothing, the log where it was; a message may hold a value of the row
            where = "".join(traceback.format_tb(err.__traceback__))
            log.error("%r failed, request %s: %s, whose message is left out\n%s", scope["path"], request_id[1].decode(), type(err).__name__, where)
            failed = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed; its log says why, under the X-Request-ID.")
            reply = self._refusal(failed, scope)
        size = (b"content-length", str(len(reply.body)).encode())
        await send({"type": "http.response.start", "status": reply.status, "headers": [reply.kind, size, request_id, *reply.extra]})
        if CLOSE in reply.extra:
            await send({"type": "http.response.body", "body": reply.body, "more_body": True})
            await spill(receive)
            reply = Reply(b"")
        await send({"type": "http.response.body", "body": reply.body})

    async def _predict(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "predict")
        body = await read(receive, MAX_BODY, self.patience)
        if endpoint.inline and len(body) <= INLINE_BODY:
            return Reply(endpoint.predict(body))
        return Reply(await self._in_turn(endpoint.predict, body))

    async def _in_turn(self, answer: Callable[[bytes], Answered], body: bytes) -> Answered:
        """Answer in the one thread, when those before are done."""
        if self.waiting >= MAX_WAITING:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", f"{MAX_WAITING} requests are waiting already.")
        self.waiting += 1
        try:
            async with self.thread:
                return await asyncio.to_thread(answer, body)
        finally:
            self.waiting -= 1

    async def _feedback(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "feedback")
        body = await read(receive, MAX_BODY, self.patience)
        return Reply(endpoint.take_feedback(body) if len(body) <= INLINE_BODY else await self._in_turn(endpoint.take_feedback, body), 202)

    async def _v2_model(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        """The paths that name a model."""
        asked = V2_MODEL.fullmatch(scope["path"])
        if asked is None:
            paths = ", ".join([*self.routes, BENTOML, "/v2/models/{name}"])
            raise Refused(HTTPStatus.NOT_FOUND, "path", f"There is no such path. There are: {paths}.")
        if asked["action"] == "infer":
            return await self._v2_infer(asked, scope, headers, receive)
        _reads(scope)
        card = self._named(asked).scorer.card
        if asked["action"] == "ready":
            return Reply(orjson.dumps({"name": card.name, "ready": True}))
        return Reply(orjson.dumps(model_metadata(card)))

    async def _v2_infer(self, asked: re.Match[str], scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "predict", V2_KINDS, asked)
        body = await read(receive, MAX_BODY, self.patience)
        given = headers.get(JSON_SIZE)
        json_size = None if given is None else int(given) if given.isdigit() and len(given) < 10 else 0
        if json_size is not None and not 0 < json_size <= len(body):
            raise Refused(HTTPStatus.BAD_REQUEST, "json", "The Inference-Header-Content-Length is not that of JSON in the body.")

        def answer(body: bytes) -> Reply:
            found = infer(endpoint, body, json_size)
            if found.json_size is None:
                return Reply(found.body)
            return Reply(found.body, kind=BINARY, extra=((JSON_SIZE, str(found.json_size).encode()),))

        return answer(body) if endpoint.inline and len(body) <= INLINE_BODY else await self._in_turn(answer, body)

    def _named(self, asked: re.Match[str]) -> Endpoint:
        """The endpoint, when it is of the model and version that a path names."""
        endpoint = self._ready()
        card = endpoint.scorer.card
        if asked["name"] != card.name or asked["version"] not in {None, card.version}:
            raise Refused(HTTPStatus.NOT_FOUND, "model", f"This server has the model {card.name}, version {card.version}.", headers=(CLOSE,))
        return endpoint

    def _open(
        self, scope: Scope, headers: dict[bytes, bytes], action: str, kinds: frozenset[bytes] = PREDICT_KINDS, asked: re.Match[str] | None = None
    ) -> Endpoint:
        """Everything that is checked before a body is read."""
        if scope["method"] != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", "This path takes POST.", headers=((b"allow", b"POST"),))
        if len(headers) != len(scope["headers"]):
            _check_once(scope["headers"])
        endpoint = self._named(asked) if asked else self._ready()
        key = endpoint.place.predict_key if action == "predict" else endpoint.place.feedback_key
        if key and not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + key.encode()):
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "key",
                f"This path needs the {action} key: Authorization: Bearer <key>.",
                headers=((b"www-authenticate", b"Bearer"), CLOSE),
            )
        kind, encoding = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"identity")
        if kind.partition(b";")[0].strip().lower() not in kinds or encoding != b"identity":
            message = "The Content-Type must be application/json, and the body without a Content-Encoding."
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content_type", message, headers=(CLOSE,))
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > MAX_BODY:
            raise too_large(MAX_BODY)
        return endpoint

    async def _livez(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        _reads(scope)
        return Reply(b'{"alive":true}')

    async def _readyz(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        _reads(scope)
        self._ready()
        return Reply(b'{"ready":true}')

    async def _metrics(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        _reads(scope)
        return Reply(self._ready().metrics.render(), kind=TEXT)

    async def _docs(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        _reads(scope)
        endpoint = self._ready()
        self.document = self.document or render(endpoint)
        return Reply(self.document)

    async def _v2_server(self, scope: Scope, _: dict[bytes, bytes], __: Receive) -> Reply:
        _reads(scope)
        return Reply(orjson.dumps(SERVER))

    def _ready(self) -> Endpoint:
        endpoint = self.endpoint()
        if endpoint is None or not endpoint.ready:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The model is not loaded yet, or not any more.")
        return endpoint

    async def _bentoml(self, scope: Scope, receive: Receive, send: Send, request_id: Header) -> None:
        _reads(scope)

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), request_id]
            await send(message)

        await self.app(scope, receive, tagged)

    def _refusal(self, refused: Refused, scope: Scope) -> Reply:
        endpoint = self.endpoint()
        if endpoint:
            endpoint.metrics.error(refused.code)
        body = refused.v2_body if scope["path"].startswith("/v2") else refused.body
        again = (AGAIN,) if refused.status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        return Reply(body, refused.status, extra=(*refused.headers, *again))


def _reads(scope: Scope) -> None:
    if scope["method"] not in {"GET", "HEAD"}:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", "This path takes GET.", headers=((b"allow", b"GET, HEAD"),))


def _check_once(headers: Iterable[Header]) -> None:
    """Refuse a header that decides and is there twice: a proxy before this server may have read the other one."""
    named = [name for name, _ in headers]
    twice = sorted(name.decode() for name in READ if named.count(name) > 1)
    if twice:
        fields = [Field(path=name, message="The header is there more than once.") for name in twice]
        raise Refused(HTTPStatus.BAD_REQUEST, "header", "The request is ambiguous.", fields, headers=(CLOSE,))
