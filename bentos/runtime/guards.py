"""The outermost ASGI layer of every endpoint: it names each request, has `Routes` answer it, and says what a refusal looks like.

BentoML's app behind it gets next to nothing, since its HTTP layer costs more than everything else about a request.
"""

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from bentos.runtime.admission import Scope, gets
from bentos.runtime.body import CLOSE, Disconnected, Message, Receive, spill
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Header, Refused
from bentos.runtime.ids import Uuid7
from bentos.runtime.routes import BENTOML, Reply, Routes

Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
SPACE = b" \t"  # which may stand around a value and is none of it (RFC 9110, 5.5); the parser leaves what follows
TURN_SECONDS = 60.0  # between looks at the age of the logs
AGAIN = (b"retry-after", b"1")
log = logging.getLogger(__name__)


class Guard:
    """Wraps the app of a BentoML service. `endpoint` gives None until the service is made."""

    def __init__(self, app: App, endpoint: Callable[[], Endpoint | None]) -> None:
        self.app = app
        self.endpoint = endpoint
        self.request_ids = Uuid7()
        self.routes = Routes(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            scope.get("state", {})["count"] = self._count  # for requests that the protocol refuses, see `Protocol`
            turning = asyncio.create_task(self._turn_logs())
            await self.app(scope, receive, send)  # until the server ends
            turning.cancel()
            return
        headers = {name: value.strip(SPACE) for name, value in scope["headers"]}
        given = headers.get(b"x-request-id", b"")
        request_id = (b"x-request-id", given if REQUEST_ID.fullmatch(given) else self.request_ids().encode())
        try:
            if scope["path"] == BENTOML:
                await self._bentoml(scope, receive, send, request_id)
                return
            reply = await self.routes.answer(scope, headers, receive)
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

    async def _turn_logs(self) -> None:
        while True:
            await asyncio.sleep(TURN_SECONDS)
            with suppress(OSError):  # a disk that is full now may not be the next time; a line that finds it full says so
                if endpoint := self.endpoint():
                    endpoint.turn_logs()

    async def _bentoml(self, scope: Scope, receive: Receive, send: Send, request_id: Header) -> None:
        gets(scope)

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), request_id]
            await send(message)

        await self.app(scope, receive, tagged)

    def _refusal(self, refused: Refused, scope: Scope) -> Reply:
        self._count(refused.code)
        body = refused.v2_body if scope["path"].startswith("/v2") else refused.body
        again = (AGAIN,) if refused.status == HTTPStatus.SERVICE_UNAVAILABLE and AGAIN[0] not in dict(refused.headers) else ()
        return Reply(body, refused.status, extra=(*refused.headers, *again))

    def _count(self, code: str) -> None:
        if endpoint := self.endpoint():
            endpoint.metrics.error(code)
