"""Tiny artefacts of every task and format, fitted once on synthetic rows."""

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from bentos.runtime.card import FILES, Card, Golden, request_rows, seen_in
from bentos.runtime.child import served
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.place import Place
from bentos.runtime.rows import Models
from bentos.runtime.scoring import Scorer

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
FEATURES = {
    "carrier": Feature(type="category"),
    "origin": Feature(type="category", closed=("EWR", "JFK", "LGA")),
    "Seats (n)": Feature(type="integer", nullable=True),
    "temp": Feature(type="number", nullable=True),
    "distance": Feature(type="number"),
    "weekend": Feature(type="boolean", nullable=True),
}
CLASSES = {"binary": (), "regression": (), "multiclass": ("wet", "dry", "icy")}  # not in alphabetical order, which is the model's own


def contract_of(task: str) -> Contract:
    return Contract(name=f"tiny_{task}", task=task, features=FEATURES, classes=CLASSES[task])


def frame_of(contract: Contract, rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    raw = {
        "carrier": rng.choice(["UA", "B6", "DL"], rows),
        "origin": rng.choice(["EWR", "JFK"], rows),
        "Seats (n)": np.where(rng.random(rows) < 0.2, np.nan, rng.integers(20, 400, rows)),
        "temp": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(50, 15, rows)),
        "distance": rng.uniform(100, 2500, rows),
        "weekend": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(0, 2, rows)),
    }
    return contract.frame(pd.DataFrame(raw))


def label_of(contract: Contract, frame: pd.DataFrame) -> pd.Series:
    size = frame["distance"] / 1000 + (frame["carrier"] == "UA")
    if contract.task == "regression":
        return size * 60
    if contract.task == "binary":
        return (size > 1.5).astype(float)
    return pd.cut(size, [-1, 1, 2, 9], labels=["icy", "dry", "wet"]).astype(str)


def pipeline_of(contract: Contract) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categories = ["carrier", "origin"]
    numbers = ["Seats (n)", "temp", "distance"]  # `weekend` is not used, and so has no input in the graph
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = HistGradientBoostingRegressor if contract.task == "regression" else HistGradientBoostingClassifier
    return Pipeline([("encode", ColumnTransformer([("c", ordinal, categories), ("n", "passthrough", numbers)])), ("model", model(max_iter=10, random_state=0))])


def write_onnx(pipeline: Any, contract: Contract, path: Path) -> None:
    import onnx
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    used = {name: feature for name, feature in contract.features.items() if name != "weekend"}
    types = [(name, (StringTensorType if feature.type == "category" else FloatTensorType)([None, 1])) for name, feature in used.items()]
    options = {} if contract.task == "regression" else {id(pipeline): {"zipmap": False}}
    with warnings.catch_warnings(action="ignore"):
        model = convert_sklearn(pipeline, initial_types=types, options=options, target_opset=18)
    for node in [*model.graph.input, *model.graph.node]:
        if isinstance(node, onnx.NodeProto):
            node.input[:] = ["Seats (n)" if name == "Seats__n_" else name for name in node.input]
        elif node.name == "Seats__n_":
            node.name = "Seats (n)"
    path.write_bytes(model.SerializeToString())


def write_artefact(folder: Path, contract: Contract, kind: str) -> Path:
    import joblib

    frame = frame_of(contract)
    pipeline = pipeline_of(contract).fit(frame, label_of(contract, frame))
    folder.mkdir()
    write_onnx(pipeline, contract, folder / FILES[kind]) if kind == "onnx" else joblib.dump(pipeline, folder / FILES[kind])
    card = Card(
        name=contract.name,
        version="20130531-00000000",
        format=kind,
        contract=contract,
        seen=seen_in(frame, contract),
        cutoff=NOON,
        holdout_score=0.7,
        metric="roc_auc",
    )
    card.save(folder)
    rows = request_rows(frame.iloc[:5], contract)
    golden = tuple(Golden(row=row, score=score) for row, score in zip(rows, Scorer.load(folder).score_rows(rows), strict=True))
    card.model_copy(update={"golden": golden}).save(folder)
    return folder


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Folder of the artefact of a task and format, made when first asked for."""
    root, made = tmp_path_factory.mktemp("artefacts"), {}

    def make(task: str, kind: str) -> Path:
        if (task, kind) not in made:
            made[task, kind] = write_artefact(root / f"{task}-{kind}", contract_of(task), kind)
        return made[task, kind]

    return make


@pytest.fixture(scope="session")
def scorer_of(artefact: Callable[[str, str], Path]) -> Iterator[Callable[[str, str], Scorer]]:
    """The scorer of a task and format as a server opens it; a child is started once."""
    opened: dict[tuple[str, str], Scorer] = {}

    def open_once(task: str, kind: str) -> Scorer:
        if (task, kind) not in opened:
            opened[task, kind] = served(artefact(task, kind))
        return opened[task, kind]

    yield open_once
    for scorer in opened.values():
        scorer.close()


@pytest.fixture
def endpoint(artefact: Callable[[str, str], Path], scorer_of: Callable[[str, str], Scorer], tmp_path: Path) -> Callable[..., Endpoint]:
    """A warm endpoint that logs to `tmp_path/log`, at noon of 1 June 2013."""

    def make(task: str = "binary", kind: str = "onnx", **place: Any) -> Endpoint:
        scorer = Scorer.load(artefact(task, kind)) if kind == "onnx" else scorer_of(task, kind)
        made = Endpoint(scorer, Models(scorer.card.contract, 3), Place(**({"log": tmp_path / "log", "release": "r1"} | place)), clock=lambda: NOON)
        made.warm_up()
        return made

    return make


@pytest.fixture
def row() -> dict[str, Any]:
    """A row that training could have held."""
    return {"carrier": "UA", "origin": "JFK", "Seats (n)": 150, "temp": 51.5, "distance": 900.0, "weekend": False}


@pytest.fixture
def logged(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """The lines of a log, parsed."""
    from bentos.runtime.log import read_lines

    return lambda kind: [json.loads(line) for folder in (tmp_path / "log").glob(f"*/{kind}") for line in read_lines(folder)]


@pytest.fixture
def serve() -> Iterator[Callable[[Endpoint], str]]:
    """Serves an endpoint on loopback as the host does; gives its host and port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(endpoint: Endpoint) -> str:
        inner = Starlette(routes=[Route("/schema.json", lambda _: JSONResponse({"name": "tiny"}))])
        server = uvicorn.Server(uvicorn.Config(Guard(inner, lambda: endpoint), port=0, http="httptools", lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()
