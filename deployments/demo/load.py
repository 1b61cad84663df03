"""Callers that never stop and never retry: what they lose while the platform is at work is what a service would lose."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass
class Load:
    """`clients` keep-alive connections that send one body again and again, at most `rate` requests a second together, from `with` to its end."""

    address: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    clients: int = 8
    rate: float = 600.0
    sent: int = 0
    failures: "Counter[str]" = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> int:
        """Requests without a 200, refused and reset ones included."""
        return sum(self.failures.values())

    def until_sent(self, count: int) -> None:
        """Wait until so many requests were sent."""
        while self.sent < count:
            time.sleep(0.2)

    def _work(self) -> None:
        where = urlsplit(self.address)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        due = time.monotonic()
        while not self._stop.is_set():
            problem = self._ask(connection)
            with self._lock:
                self.sent += 1
                if problem:
                    self.failures[problem] += 1
            due = max(due + self.clients / self.rate, time.monotonic() - 1)  # what was missed while it waited is not made up in a burst
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        """Send once; what went wrong, or nothing."""
        try:
            connection.request("POST", "/predict", self.body, {"Content-Type": "application/json", **self.headers})
            response = connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as err:
            connection.close()
            return f"{type(err).__name__}: {err}"
        return "" if response.status == 200 else f"{response.status}: {said[:200].decode(errors='replace')}"
