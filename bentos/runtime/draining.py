"""How a server leaves without losing a request: replies that say goodbye, and connections that are closed only when nothing is on them."""

import fcntl
import struct
import termios
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Draining:
    """Passes requests on; once `on` is set, every response tells the client not to use its connection again."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.on = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""

        async def send_last(message: Message) -> None:
            if self.on and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, send_last)


def close_if_idle(connection: Any) -> None:
    """Close a connection on which nothing is answered, half read, or waiting in the kernel: a request met by a close would be lost."""
    cycle = connection.cycle
    answering = cycle is not None and not cycle.response_complete
    half_read = connection.scope is not (cycle and cycle.scope)
    file = connection.transport.get_extra_info("socket").fileno()
    (waiting,) = struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, b"\0\0\0\0"))
    if not (answering or half_read or waiting):
        connection.transport.close()
