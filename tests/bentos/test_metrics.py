"""Every request that was given up for no fault of its own is counted, by a reason out of a fixed set."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from arriving import arriving
from starlette.applications import Starlette

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.ids import Uuid7
from bentos.runtime.patience import Patience
from bentos.runtime.routes import INLINE_BODY

MakeEndpoint = Callable[..., Endpoint]
NONE = {"disconnected": 0, "slow": 0, "overloaded": 0, "log": 0}
UNKNOWN = json.dumps({"labels": [{"id": Uuid7()(), "label": True}]}).encode()


def ask(guard: Guard, path: str, *messages: dict[str, Any]) -> tuple[int, str] | None:
    """Status and error code of the reply to what arrives and then falls silent; None: nothing was sent back."""
    sent: list[Any] = []

    async def talk() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        await guard({"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", b"application/json")]}, arriving(*messages), send)

    asyncio.run(talk())
    return (sent[0]["status"], json.loads(sent[1]["body"]).get("error", {}).get("code", "")) if sent else None


def whole(body: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": body}


def part(body: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": True}


def drops(endpoint: Endpoint) -> dict[str, int]:
    found = re.findall(r'ratchet_drops_total{model="tiny_binary",reason="(\w+)",version="20130531-00000000"} (\d+)\.0', endpoint.metrics.render().decode())
    return {reason: int(count) for reason, count in found}


def test_the_series_of_drops_are_there_from_the_start(endpoint: MakeEndpoint) -> None:
    assert drops(endpoint()) == NONE


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_a_caller_who_leaves_before_its_body_is_whole_is_counted(endpoint: MakeEndpoint, path: str) -> None:
    served = endpoint()

    assert ask(Guard(Starlette(), lambda: served), path, part(b'{"rows"'), {"type": "http.disconnect"}) is None

    assert drops(served) == NONE | {"disconnected": 1}


def test_a_body_that_does_not_arrive_in_time_is_counted(endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.runtime.patience.EVERY", 0.02)
    served = endpoint()
    guard = Guard(Starlette(), lambda: served)
    guard.routes.patience = Patience(0.05)

    assert ask(guard, "/predict", part(b'{"rows"')) == (408, "slow")

    assert drops(served) == NONE | {"slow": 1}


def test_what_finds_the_queue_full_is_counted_and_small_labels_do_not_queue(endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.runtime.routes.MAX_WAITING", 0)
    served = endpoint()
    guard = Guard(Starlette(), lambda: served)

    replies = [ask(guard, path, whole(b" " * INLINE_BODY + UNKNOWN)) for path in ("/predict", "/feedback")]

    assert replies == [(503, "overloaded")] * 2
    assert ask(guard, "/feedback", whole(UNKNOWN)) == (202, "")
    assert drops(served) == NONE | {"overloaded": 2}


def test_what_cannot_be_logged_is_counted_and_a_wrong_request_is_no_drop(endpoint: MakeEndpoint) -> None:
    served = endpoint()
    served.close()  # which closes the logs
    served.ready = True
    guard = Guard(Starlette(), lambda: served)

    assert ask(guard, "/feedback", whole(UNKNOWN)) == (503, "log")
    assert ask(guard, "/feedback", whole(b"{}")) == (400, "invalid")
    assert ask(guard, "/nowhere", whole(b"{}")) == (404, "path")

    assert drops(served) == NONE | {"log": 1}
