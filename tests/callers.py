"""Callers of the toy model who keep their connections and never retry: every request that gets no answer is counted."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Self

import httpx

BODY = json.dumps({"rows": [{"x": 1}]})
HEADERS = {"content-type": "application/json"}
CONNECTIONS = 8
PATIENCE = 60  # seconds for an answer: a busy machine is slow, and a lost request is never answered


@dataclass
class Callers:
    """Clients that call from the start of the block to its end; `answered` holds the release of each answer."""

    port: int
    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        ways = [self._with_http_client] * (CONNECTIONS - 1) + [self._with_httpx]
        self.threads = [threading.Thread(target=way) for way in ways]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()

    def _with_http_client(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

        def call() -> str:
            connection.request("POST", "/predict", BODY, HEADERS)
            release: str = json.load(connection.getresponse())["release"]
            return release

        self._repeat(call)
        connection.close()

    def _with_httpx(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE) as client:
            self._repeat(lambda: str(client.post("/predict", content=BODY, headers=HEADERS).raise_for_status().json()["release"]))

    def _repeat(self, call: Callable[[], str]) -> None:
        while not self.done.is_set():
            try:
                self.answered.append(call())
                time.sleep(0.002)  # the new generation must come up on the same two cores
            except Exception as err:  # noqa: BLE001  # whatever it is, a caller would have lost a request
                self.failed.append(repr(err))


def predict(port: int) -> dict[str, object]:
    """One answer of the toy."""
    answer: dict[str, object] = httpx.post(f"http://127.0.0.1:{port}/predict", content=BODY, headers=HEADERS, timeout=PATIENCE).raise_for_status().json()
    return answer
