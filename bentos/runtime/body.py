"""The body of a request: read whole, up to a size, a time, and the room that all bodies share, or let go by."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from bentos.runtime.contract import Contract
from bentos.runtime.errors import Refused
from bentos.runtime.patience import Patience

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

CLOSE = (b"connection", b"close")  # header of a reply: the rest of the body is not worth reading
SPILLED = 32_000_000, 1.0  # bytes and seconds of a body that is not wanted
MAX_BODY = 1_000_000  # bytes that every endpoint takes
LARGEST = 16_000_000  # that any takes: seconds of work for one reply, and a quarter of what all bodies may hold
HELD = 64_000_000  # bytes of all bodies that arrive or wait: 64 of the usual limit, as many as may wait, and 4 of the largest
BESIDE, VALUE, TEXT, LABEL = 160, 32, 64, 200  # bytes in JSON: event_time and entity, a number of 17 digits, a text of usual length, a label of /feedback


class Disconnected(Exception):
    """The caller went away before its body was whole."""


class Room:
    """The bytes of bodies that are held at once, over all connections; whoever takes some gives them back."""

    def __init__(self) -> None:
        self.held = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            Refused: there is no room for them, and none was taken.
        """
        if self.held + size > HELD:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", f"The bodies under way hold {HELD:,} bytes already.", headers=(CLOSE,))
        self.held += size

    def give(self, size: int) -> None:
        """Let go of bytes that were taken."""
        self.held -= size


def largest(contract: Contract, max_rows: int) -> int:
    """Bytes that a body may have: room for `max_rows` rows of this contract, or labels, between `MAX_BODY` and `LARGEST`."""
    features = contract.features.items()
    row = BESIDE + sum(len(json.dumps(name)) + (TEXT if feature.type == "category" else VALUE) for name, feature in features)
    return min(LARGEST, max(MAX_BODY, max_rows * max(row, LABEL)))


def too_large(most: int) -> Refused:
    """The refusal of a body of more than `most` bytes."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"The body may have {most:,} bytes; send fewer rows at a time.", headers=(CLOSE,))


async def read(receive: Receive, most: int, patience: Patience, room: Room) -> bytes:
    """The whole body, of at most so many bytes. What has come of it takes room until the rest is there; one that comes in one piece takes none.

    Raises:
        Refused: it is too long, takes too long, or finds no room. Disconnected: the caller is gone.
    """
    held = bytearray()
    try:
        with patience:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Disconnected
                part = message.get("body", b"")
                if len(held) + len(part) > most:
                    raise too_large(most)
                if not message.get("more_body", False):
                    return b"".join((held, part)) if held else part
                room.take(len(part))
                held += part
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "slow", f"The body did not arrive within {patience.seconds:g} s.", headers=(CLOSE,)) from None
    finally:
        room.give(len(held))


async def spill(receive: Receive) -> None:
    """Let the rest of a body go by: a caller that is met by a close while it sends has a broken connection, and never reads the reply."""
    left, seconds = SPILLED
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            more = True
            while more and left > 0:
                message = await receive()
                left, more = left - len(message.get("body", b"")), message.get("more_body", False)
