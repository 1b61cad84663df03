"""uvicorn's HTTP/1.1 with bounds that it has not: a head of bounded size and time, no silent connection for ever; and an upgrade that is offered is passed over.

A client of the JDK offers HTTP/2 (`Upgrade: h2c`) with its first request on every connection. The parser then takes the body for the new protocol's, and
uvicorn answers as if there were none (its issue 2722). RFC 9110 lets a server go on as if it had not been offered.
What is not HTTP is refused in the one shape of `errors`, and counted by the function that the app leaves as `count` in the state of its lifespan.
"""

import asyncio
import re
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bentos.runtime.errors import Refused
from bentos.runtime.ids import Uuid7

MAX_HEAD = 65_536  # bytes of a request line and headers, beyond what comes with the first of them
HEAD_SECONDS = 10.0  # for a caller to send them
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """One connection."""

    request_ids = Uuid7()
    head = 0  # bytes that came after the first of a head that is not whole yet
    late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Close it when nothing is ever sent."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._head_is_whole()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if (self.cycle is None or not self.cycle.more_body) and b"pgrade:" in data:
            data = _without_upgrade(data)
        before = self.scope
        super().data_received(data)
        if self.scope is (self.cycle and self.cycle.scope):
            if self.late:
                self._head_is_whole()
        elif not self.transport.is_closing():
            self._head_goes_on(len(data) if self.scope is before else 0)  # where in `data` it began is not known

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and close: where the next request would begin is not known."""
        refused = Refused(HTTPStatus.BAD_REQUEST, "http", msg)
        if count := self.app_state.get("count"):
            count(refused.code)
        length = str(len(refused.body)).encode()
        named = [(b"content-type", b"application/json"), (b"content-length", length), (b"x-request-id", self.request_ids().encode()), (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in [*self.server_state.default_headers, *named])
        self.transport.write(STATUS_LINE[400] + head + b"\r\n" + refused.body)
        self.transport.close()

    def _head_goes_on(self, size: int) -> None:
        self.head += size
        self.late = self.late or self.loop.call_later(HEAD_SECONDS, self.transport.close)
        if self.head > MAX_HEAD:
            self.send_400_response(f"The head of a request may have {MAX_HEAD:,} bytes.")

    def _head_is_whole(self) -> None:
        if self.late:
            self.late.cancel()
        self.head, self.late = 0, None


def _without_upgrade(data: bytes) -> bytes:
    head, end, rest = data.partition(b"\r\n\r\n")
    return UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest
