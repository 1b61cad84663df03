"""What an ASGI app receives from a caller that sends something and then falls silent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


def arriving(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """The `receive` of a connection on which these messages come; whoever waits for another one has a minute to give up."""
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in coming:
            return message
        await asyncio.sleep(60)
        raise AssertionError("nobody ended it")

    return receive
