"""A client that sends rows one request each over keep-alive connections, in event order, and never retries."""

import http.client
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

LABELS_PER_REQUEST = 1_000


@dataclass(frozen=True)
class Sent:
    """What came back: an id per row, empty where the request failed."""

    ids: list[str]
    failed: int
    seconds: float
    problem: str = ""


def send_rows(address: str, rows: Sequence[bytes], clients: int = 4, due_seconds: Sequence[float] = (), key: str = "") -> Sent:
    """POST each row to /predict.

    Args:
        address: Base URL of the endpoint.
        rows: One JSON object each, in event order; `clients` connections share them in turn.
        due_seconds: When each row is due, from now on; empty: as fast as the endpoint answers.
    """
    ids, problems, started = [""] * len(rows), [], time.monotonic()

    def work(first: int) -> None:
        connection = _connection(address)
        for index in range(first, len(rows), clients):
            if due_seconds:
                time.sleep(max(0.0, started + due_seconds[index] - time.monotonic()))
            try:
                answer = _post(connection, "/predict", b'{"rows":[%b]}' % rows[index], key)
                ids[index] = answer["answers"][0]["id"]
            except (OSError, http.client.HTTPException, ValueError, KeyError) as err:
                problems.append(f"{type(err).__name__}: {err}")
                connection.close()
        connection.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Sent(ids, len(problems), time.monotonic() - started, problems[0] if problems else "")


def send_labels(address: str, labels: Sequence[dict[str, object]], key: str = "") -> int:
    """POST labels to /feedback, many a request; returns how many were taken.

    Raises:
        OSError, ValueError: the endpoint is gone or refused them; what was sent before stays taken.
    """
    connection, taken = _connection(address), 0
    for start in range(0, len(labels), LABELS_PER_REQUEST):
        taken += _post(connection, "/feedback", orjson.dumps({"labels": labels[start : start + LABELS_PER_REQUEST]}), key)["accepted"]
    connection.close()
    return taken


def _connection(address: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)


def _post(connection: http.client.HTTPConnection, path: str, body: bytes, key: str) -> Any:  # JSON of the endpoint
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status >= 300:
        raise ValueError(f"HTTP {response.status}: {content[:300].decode(errors='replace')}")
    return orjson.loads(content)
