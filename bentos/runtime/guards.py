"""The outermost ASGI layer of every endpoint: which paths there are, who may call, how much, and what a refusal looks like.

It answers /predict and /feedback itself, since BentoML's HTTP layer costs more than everything else about a request.
"""

import asyncio
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Header, Refused
from bentos.runtime.ids import Uuid7

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 1_000_000  # bytes
BODY_SECONDS = 10.0  # for a caller to send its body
MAX_WAITING = 64  # requests that wait for the thread
INLINE_BODY = 32_000  # bytes, about a hundred rows: scored in a millisecond; longer ones would keep others waiting, and go to the thread
DOCS = ("/docs.json", "/schema.json", "/healthz")  # BentoML's own; not its page at /, which loads a tag manager from the Internet
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")  # Prometheus'
CLOSE = (b"connection", b"close")  # the rest of the body is not worth reading
AGAIN = (b"retry-after", b"1")
log = logging.getLogger(__name__)


class Disconnected(Exception):
    """The caller went away before its body was whole."""


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
        self.routes = {"/predict": self._predict, "/feedback": self._feedback, "/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        self.thread = asyncio.Semaphore(1)
        self.waiting = 0

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
                await self._docs(scope, receive, send, request_id)
                return
            reply = await route(scope, headers, receive)
        except Disconnected:
            return
        except Refused as refused:
            reply = self._refusal(refused)
        except Exception:  # the last resort: the caller learns nothing of it, the log everything
            log.exception("%s failed, request %s", scope["path"], request_id[1].decode())
            reply = self._refusal(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed; its log says why, under the X-Request-ID."))
        size = (b"content-length", str(len(reply.body)).encode())
        await send({"type": "http.response.start", "status": reply.status, "headers": [reply.kind, size, request_id, *reply.extra]})
        await send({"type": "http.response.body", "body": reply.body})

    async def _predict(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "predict")
        body = await _body(receive)
        if endpoint.inline and len(body) <= INLINE_BODY:
            return Reply(endpoint.predict(body))
        if self.waiting >= MAX_WAITING:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", f"{MAX_WAITING} requests are waiting already.", headers=(AGAIN,))
        self.waiting += 1
        try:
            async with self.thread:
                return Reply(await asyncio.to_thread(endpoint.predict, body))
        finally:
            self.waiting -= 1

    async def _feedback(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        endpoint = self._open(scope, headers, "feedback")
        return Reply(endpoint.take_feedback(await _body(receive)), 202)

    def _open(self, scope: Scope, headers: dict[bytes, bytes], action: str) -> Endpoint:
        """Everything that is checked before a body is read."""
        if scope["method"] != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", f"/{action} takes POST.", headers=((b"allow", b"POST"),))
        endpoint = self._ready()
        key = endpoint.place.predict_key if action == "predict" else endpoint.place.feedback_key
        if key and not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + key.encode()):
            raise Refused(
                HTTPStatus.UNAUTHORIZED, "key", f"/{action} needs its key: Authorization: Bearer <key>.", headers=((b"www-authenticate", b"Bearer"), CLOSE)
            )
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content_type", "The Content-Type must be application/json.", headers=(CLOSE,))
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > MAX_BODY:
            raise _too_large()
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

    def _ready(self) -> Endpoint:
        endpoint = self.endpoint()
        if endpoint is None or not endpoint.ready:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The model is not loaded yet, or not any more.", headers=(AGAIN,))
        return endpoint

    async def _docs(self, scope: Scope, receive: Receive, send: Send, request_id: Header) -> None:
        if scope["path"] not in DOCS:
            raise Refused(HTTPStatus.NOT_FOUND, "path", f"There is no such path. There are: {', '.join([*self.routes, *DOCS])}.")
        _reads(scope)

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), request_id]
            await send(message)

        await self.app(scope, receive, tagged)

    def _refusal(self, refused: Refused) -> Reply:
        endpoint = self.endpoint()
        if endpoint:
            endpoint.metrics.error(refused.code)
        return Reply(refused.body, refused.status, extra=refused.headers)


def _reads(scope: Scope) -> None:
    if scope["method"] not in {"GET", "HEAD"}:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", "This path takes GET.", headers=((b"allow", b"GET, HEAD"),))


def _too_large() -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"The body may have {MAX_BODY:,} bytes; send fewer rows at a time.", headers=(CLOSE,))


async def _body(receive: Receive) -> bytes:
    """The whole body.

    Raises:
        Refused: it is too long, or takes too long. Disconnected: the caller is gone.
    """
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Disconnected
                chunks.append(message.get("body", b""))
                size, more = size + len(chunks[-1]), message.get("more_body", False)
                if size > MAX_BODY:
                    raise _too_large()
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "slow", f"The body did not arrive within {BODY_SECONDS:g} s.", headers=(CLOSE,)) from None
    return b"".join(chunks)
