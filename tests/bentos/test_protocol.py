"""Connections: an offered upgrade costs no body, and neither a flood of headers nor a silent caller holds the server."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from bentos.runtime.protocol import MAX_HEAD, Protocol

JDK = b"Connection: Upgrade, HTTP2-Settings\r\nHost: x\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
END = b'"]'  # of a reply


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what it was sent."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    reply = json.dumps([scope["path"], body.decode()]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(reply))]})
    await send({"type": "http.response.body", "body": reply})


@contextmanager
def served(**options: Any) -> Iterator[int]:
    """The port of a server of `echo`."""
    server = uvicorn.Server(uvicorn.Config(echo, port=0, http=Protocol, ws="none", lifespan="off", log_level="error", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    with served() as port:
        yield port


def talk(port: int, *sent: bytes, count: int = 0, wait: float = 30) -> bytes:
    """What comes back until it holds so many whole replies, or the server closes, or is silent for a while."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        try:
            for part in sent:
                connection.sendall(part)
            while not 0 < count <= received.count(END) and (data := connection.recv(65_536)):
                received += data
        except TimeoutError:
            received += b"(silence)"
        except ConnectionError:
            pass
    return received


def post(body: bytes, head: bytes = JDK) -> bytes:
    return b"POST /a HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def test_the_body_of_a_request_that_offers_an_upgrade_arrives_and_so_do_those_after_it(port: int) -> None:
    chunked = b"POST /b HTTP/1.1\r\n" + JDK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    sent = {post(b"one"): "one", post(b"Upgrade: h2c", b"Host: x\r\n"): "Upgrade: h2c", chunked: "abc", post(b"Upgrade: x" * 20_000): "Upgrade: x" * 20_000}

    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, connection.makefile("rb") as reader:
        for request, body in sent.items():
            connection.sendall(request)
            head = [reader.readline() for _ in range(5)]
            assert head[0] == b"HTTP/1.1 200 OK\r\n"
            assert json.loads(reader.read(int(head[3].split()[1])))[1] == body


def test_a_body_that_comes_after_its_head_arrives_too(port: int) -> None:
    whole = post(b"\r\nUpgrade: me")
    told = talk(port, whole[:-13], whole[-13:], count=1)

    assert b'["/a", "\\r\\nUpgrade: me"]' in told


def test_a_head_that_never_ends_is_refused_when_it_is_too_long(port: int) -> None:
    flood = [b"GET / HTTP/1.1\r\n", *[b"X-%d: " % i + b"a" * 1_000 + b"\r\n" for i in range(500)]]

    told = talk(port, *flood)

    assert told == b"" or told.startswith(b"HTTP/1.1 400 "), "closed, before the refusal was read or after"
    assert b"200 OK" in talk(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (MAX_HEAD - 100) + b"\r\n\r\n", count=1)


def test_many_requests_on_one_connection_are_no_long_head(port: int) -> None:
    told = talk(
        port,
        *[part for _ in range(100) for part in (b"POST /a HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 1_000, b"\r\nContent-Length: 1\r\n\r\n", b"b")],
        count=100,
    )

    assert told.count(b"200 OK") == 100


def test_a_silent_connection_and_a_head_that_drips_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.runtime.protocol.HEAD_SECONDS", 1.0)
    with served(timeout_keep_alive=1) as port:
        assert talk(port, b"GET / HT") == b""
        assert talk(port) == b""
        assert b"200 OK" in talk(port, b"GET / HT", b"TP/1.1\r\nHost: x\r\n\r\n", count=1)
