"""What must be true before speed counts: every server is ready, gives the right scores, and the two that do the same do it."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

from contenders import Contender, Row
from servers import Server

READY_SECONDS, TOLERANCE = 90, 1e-4


def ask(contender: Contender, server: Server, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and reply of one request."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("POST", contender.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait(contender: Contender, server: Server, row: Row) -> None:
    """Return when it answers a row."""
    status, until = 0, time.monotonic() + READY_SECONDS
    while status != 200:
        with suppress(OSError, HTTPException):
            status, _ = ask(contender, server, contender.body([row]), contender.headers)
        if server.process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"{contender.name} does not answer ({status}):\n{server.output.read_text()[-3000:]}")
        time.sleep(0.1)


def right(contender: Contender, server: Server, rows: Sequence[Row], expected: Sequence[float]) -> float:
    """Largest difference to scikit-learn's own scores, asked row by row and all at once. A wrong answer ends the benchmark."""
    single = [_scores(contender, server, [row])[0] for row in rows]
    off = max(abs(found - right) for scores in (single, _scores(contender, server, rows)) for found, right in zip(scores, expected, strict=True))
    if not off <= TOLERANCE:
        raise SystemExit(f"{contender.name} answers otherwise than scikit-learn: {off:.2g} off, allowed {TOLERANCE:g}")
    return off


def guarded(contender: Contender, server: Server, row: Row) -> None:
    """It asks for its key, and refuses a row that the contract does not allow."""
    for what, body, headers in (
        ("a request without its key", contender.body([row]), contender.headers | {"Authorization": ""}),
        ("an unknown field", contender.body([row | {"colour": "red"}]), contender.headers),
        ("a number as text", contender.body([row | {"distance": "900"}]), contender.headers),
        ("a value outside a closed set", contender.body([row | {"origin": "ORD"}]), contender.headers),
    ):
        status, _ = ask(contender, server, body, headers)
        if not 400 <= status < 500:
            raise SystemExit(f"{contender.name} answers {what} with {status}")


def logged(contender: Contender) -> dict[str, Any]:
    """The last line of its log, with the features of its row as names only."""
    file = max(contender.folder.glob(contender.log))
    line: dict[str, Any] = json.loads(file.read_bytes().splitlines()[-1])
    return line


def log_alike(one: Contender, other: Contender) -> None:
    """Both write the same line for the same row, but for ids and times."""
    lines = [{name: value for name, value in logged(each).items() if name not in {"id", "wall_time", "latency_us", "score"}} for each in (one, other)]
    if lines[0] != lines[1]:
        raise SystemExit(f"{one.name} and {other.name} log different lines:\n{lines[0]}\n{lines[1]}")


def _scores(contender: Contender, server: Server, rows: Sequence[Row]) -> list[float]:
    status, reply = ask(contender, server, contender.body(rows), contender.headers)
    if status != 200:
        raise SystemExit(f"{contender.name} answers {status}: {reply[:300]!r}")
    return contender.scores(json.loads(reply))
