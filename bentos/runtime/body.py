"""The body of a request: read whole, up to a size and a time, or let go by."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from bentos.runtime.errors import Refused
from bentos.runtime.patience import Patience

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

CLOSE = (b"connection", b"close")  # header of a reply: the rest of the body is not worth reading
SPILLED = 32_000_000, 1.0  # bytes and seconds of a body that is not wanted


class Disconnected(Exception):
    """The caller went away before its body was whole."""


def too_large(most: int) -> Refused:
    """The refusal of a body of more than `most` bytes."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"The body may have {most:,} bytes; send fewer rows at a time.", headers=(CLOSE,))


async def read(receive: Receive, most: int, patience: Patience) -> bytes:
    """The whole body, of at most so many bytes.

    Raises:
        Refused: it is too long, or takes too long. Disconnected: the caller is gone.
    """
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        with patience:
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Disconnected
                chunks.append(message.get("body", b""))
                size, more = size + len(chunks[-1]), message.get("more_body", False)
                if size > most:
                    raise too_large(most)
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "slow", f"The body did not arrive within {patience.seconds:g} s.", headers=(CLOSE,)) from None
    return b"".join(chunks)


async def spill(receive: Receive) -> None:
    """Let the rest of a body go by: a caller that is met by a close while it sends has a broken connection, and never reads the reply."""
    left, seconds = SPILLED
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            more = True
            while more and left > 0:
                message = await receive()
                left, more = left - len(message.get("body", b"")), message.get("more_body", False)
