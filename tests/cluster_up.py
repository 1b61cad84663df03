"""A platform on a cluster, and the ways to ask it and break it from this machine."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from platform_up import ROOT
from sqlalchemy.exc import SQLAlchemyError

from tasks.errors import RatchetError
from tasks.installation import Installation
from tasks.ledger.chain import History

T = TypeVar("T")


@dataclass
class Cluster:
    """A platform on a cluster, and the ways to ask it from this machine. `demo` is what demo.json says."""

    env: dict[str, str]
    demo: dict[str, Any]

    @property
    def here(self) -> Installation:
        return Installation.of()

    def history(self) -> History:
        return self.here.ledger.read()

    def kubectl(self, *words: str, check: bool = True, given: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["kubectl", *words], env=self.env, capture_output=True, text=True, timeout=300, check=check, input=given)

    def pods(self, selector: str, namespace: str = "ratchet") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json").stdout)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ratchet(self, *words: str, timeout: float = 600) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", "deployments.cli", *words], env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)


def patiently(call: Callable[[], T], seconds: float = 300) -> T:
    """What `call` returns; while a part of the platform is down it is asked again, for so long after the first time that it was."""
    deadline = 0.0
    while True:
        try:
            return call()
        except (RatchetError, SQLAlchemyError):
            deadline = deadline or time.monotonic() + seconds
            assert time.monotonic() < deadline, f"a part of the platform was down for {seconds:.0f} s"
            time.sleep(1)
