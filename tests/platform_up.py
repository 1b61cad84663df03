"""A running platform, and the ways in which end-to-end tests ask it and end it."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx

from tasks.installation import Installation
from tasks.ledger.chain import History
from tasks.settings import Settings

ROOT = Path(__file__).parents[1]
UP_SECONDS, DOWN_SECONDS = 900, 240


@dataclass
class Platform:
    """A running `ratchet up` and the ways to ask it."""

    project: Path
    home: Path
    env: dict[str, str]
    ports: dict[str, int]
    process: "subprocess.Popen[bytes]"

    @property
    def here(self) -> Installation:
        return Installation.of(Settings(project=self.project, home=self.home))

    def history(self) -> History:
        return self.here.ledger.read()

    def ratchet(self, *words: str, timeout: float = 600) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "deployments.cli", *words]
        return subprocess.run(command, env=self.env, cwd=self.project, capture_output=True, text=True, timeout=timeout, check=False)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a run as the UI would: by the API of the Prefect server."""
        api = self.env["PREFECT_API_URL"]
        found = self.asked("GET", f"{api}/deployments/name/{deployment}")
        wanted = {"parameters": parameters, "idempotency_key": uuid4().hex}  # asked again, the server makes no second one
        return str(self.asked("POST", f"{api}/deployments/{found['id']}/create_flow_run", wanted)["id"])

    def asked(self, method: str, url: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the Prefect API says; a server whose database is locked answers 503 for a while, or nothing, and is asked again."""
        deadline = time.monotonic() + 90
        while True:
            try:
                reply = httpx.request(method, url, json=content, timeout=90)
                if reply.status_code < 500 or time.monotonic() > deadline:
                    return dict(reply.raise_for_status().json())
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def finished(self, run: str, timeout: float = 900) -> str:
        """Wait for a run and return its final state."""
        state = {"type": "SCHEDULED"}

        def ended() -> bool:
            nonlocal state
            state = self.asked("GET", f"{self.env['PREFECT_API_URL']}/flow_runs/{run}")["state"]
            return state["type"] in {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}

        until(ended, timeout, f"run {run} to end")
        return str(state["type"])

    def predict(self, model: str = "flights_late") -> dict[str, Any]:
        sample = json.loads((self.project / "bentos" / model / "sample.json").read_text())
        answer = httpx.post(f"http://127.0.0.1:{self.ports[model]}/predict", json=sample, timeout=60)
        return dict(answer.raise_for_status().json())

    def boot(self) -> None:
        log = (self.home.parent / "up.log").open("ab")
        offset = (self.home.parent / "up.log").stat().st_size
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "up"], env=self.env, cwd=self.project, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        until(lambda: b"ready;" in self.said(offset) or self.process.poll() is not None, UP_SECONDS, "the platform to be ready")
        assert self.process.poll() is None, self.said(offset).decode()

    def said(self, offset: int = 0) -> bytes:
        return (self.home.parent / "up.log").read_bytes()[offset:]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DOWN_SECONDS)

    def processes(self) -> list[str]:
        """Command lines of processes whose environment names this home."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"RATCHET_HOME={self.home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def unfinished_runs(self) -> list[tuple[str, str]]:
        """Runs that claim to be under way, from Prefect's own database: it can be read while its server is down too."""
        return self._prefect("SELECT name, state_type FROM flow_run WHERE state_type IN ('RUNNING', 'PENDING', 'CANCELLING')")

    def asked_for_runs(self) -> list[tuple[str, str]]:
        """Runs that no schedule started and that have not ended."""
        return self._prefect(
            "SELECT name, state_type FROM flow_run WHERE auto_scheduled = 0 AND state_type NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')"
        )

    def state(self, run: str) -> str:
        """State of a run, from the same place."""
        [(state,)] = self._prefect("SELECT state_type FROM flow_run WHERE replace(id, '-', '') = ?", UUID(run).hex)
        return str(state)

    def _prefect(self, question: str, *values: str) -> list[Any]:
        file = next((self.home / "prefect").rglob("prefect.db"))
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(question, values).fetchall()


def copy_of_tree(to: Path) -> None:
    """Every file of this checkout that git would keep."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)
