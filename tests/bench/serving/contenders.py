"""Who is measured: how each server is started and asked, all with the same model."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model import Model
from servers import Server, free_port

PEERS = Path(__file__).with_name("peers")
KEY = "a-key-that-takes-as-long-to-check"
LINES = "log/*/predictions/*"  # our log, as a server lays it out
BESIDE = {"event_time", "entity"}  # what a row holds that is no feature
Row = dict[str, Any]


def as_rows(rows: Sequence[Row]) -> bytes:
    """The body of a request."""
    return json.dumps({"rows": rows}).encode()


def as_records(rows: Sequence[Row]) -> bytes:
    """The body that MLflow takes."""
    return json.dumps({"dataframe_records": [{name: value for name, value in row.items() if name not in BESIDE} for row in rows]}).encode()


def answered(reply: Any) -> list[float]:
    """Scores in a reply of ours, or of the peer that does the same."""
    return [answer["score"] for answer in reply["answers"]]


@dataclass(frozen=True)
class Contender:
    """A server to be. `command` takes its port; a peer with a `ratio` has a place of that name in the last line."""

    name: str
    folder: Path
    command: Callable[[int], list[str]]
    env: dict[str, str] = field(default_factory=dict)
    path: str = "/predict"
    body: Callable[[Sequence[Row]], bytes] = as_rows
    scores: Callable[[Any], list[float]] = answered
    key: str = ""
    log: str = ""  # pattern of its log files under `folder`
    ratio: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What each request says."""
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})

    def start(self, core: int | None) -> Server:
        """Start it; it is ready later."""
        self.folder.mkdir()
        port = free_port()
        return Server.start(self.command(port), {"OMP_NUM_THREADS": "1"} | self.env, self.folder, port, core)


def ours(model: Model, folder: Path) -> Contender:
    """The host program with key, log and metrics, as a release is served."""
    release = folder / "release.json"
    release.write_text(model.release.model_dump_json())
    host = [sys.executable, "-m", "bentos.runtime.host", "--release", str(release), "--bento", str(model.bento)]
    return Contender("Ratchet", folder / "ours", lambda port: [*host, "--bind", f"127.0.0.1:{port}"], _place(model, folder / "ours"), key=KEY, log=LINES)


def same(model: Model, folder: Path) -> Contender:
    """FastAPI with all that ours does."""
    log = folder / "same" / "log.jsonl"
    env = {"BENCH_ARTEFACT": str(model.artefact), "BENCH_RELEASE": model.release.id, "BENCH_LOG": str(log), "BENCH_KEY": KEY}
    return Contender("FastAPI, the same", folder / "same", _uvicorn("same:app"), env, key=KEY, log=log.name, ratio="vs_fastapi_same")


def bare(model: Model, folder: Path) -> Contender:
    """FastAPI with the model and nothing else."""
    env = {"BENCH_ARTEFACT": str(model.artefact)}
    return Contender("FastAPI, bare", folder / "bare", _uvicorn("bare:app"), env, scores=lambda reply: reply["scores"], ratio="vs_fastapi_bare")


def mlflow(model: Model, folder: Path, python: Path) -> Contender:
    """MLflow's own server with the scikit-learn pipeline, out of its own environment."""
    saved = folder / "mlflow-model"
    done = subprocess.run([python, PEERS / "save_mlflow.py", model.pickle, saved], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    serve = [str(python), "-m", "mlflow", "models", "serve", "--model-uri", str(saved), "--env-manager", "local", "--host", "127.0.0.1", "--port"]
    return Contender(
        "mlflow models serve",
        folder / "mlflow",
        lambda port: [*serve, str(port)],
        {"PATH": f"{python.parent}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"},
        path="/invocations",
        body=as_records,
        scores=lambda reply: [row[1] for row in reply["predictions"]],
        ratio="vs_mlflow",
    )


def stock(model: Model, folder: Path) -> list[Contender]:
    """`bentoml serve`: of our own bento, and of a service as the documentation shows one, tuned and not. For information."""
    env = {"BENCH_ARTEFACT": str(model.artefact), "PYTHONPATH": str(PEERS)}
    own = _place(model, folder / "served") | {"PYTHONPATH": str(model.bento / "src")}
    return [
        Contender("bentoml serve, our bento", folder / "served", _bentoml(str(model.bento)), own | _home(folder, "served"), key=KEY, log=LINES),
        Contender("bentoml serve, tuned", folder / "tuned", _bentoml("stock:Tuned"), env | _home(folder, "tuned"), scores=lambda reply: reply["scores"]),
        Contender("bentoml serve, default", folder / "default", _bentoml("stock:Default"), env | _home(folder, "default"), scores=lambda reply: reply),
    ]


def _home(folder: Path, name: str) -> dict[str, str]:
    """A home for each: servers that share one wipe each other's files."""
    return {"BENTOML_HOME": str(folder / f"{name}-home"), "BENTOML_DO_NOT_TRACK": "True"}


def _place(model: Model, folder: Path) -> dict[str, str]:
    keys = {"RATCHET_PREDICT_KEY": KEY, "RATCHET_FEEDBACK_KEY": KEY[::-1], "RATCHET_HASH_KEY": KEY}
    return {"RATCHET_RELEASE": model.release.id, "RATCHET_LOG": str(folder / "log"), **keys}


def _uvicorn(app: str) -> Callable[[int], list[str]]:
    options = ["--app-dir", str(PEERS), "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return lambda port: [sys.executable, "-m", "uvicorn", app, *options, "--port", str(port)]


def _bentoml(what: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", "bentoml", "serve", what, "--host", "127.0.0.1", "--port", str(port)]
