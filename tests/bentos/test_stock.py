"""Stock `bentoml serve` and our host serve the same: every reply, success or refusal, byte for byte and header for header.

Ids and times are replaced by words first, and the header `date` is left out. What `protocol.py` does is ours alone, and not compared here: an offered
upgrade to HTTP/2 (h2c) is passed over and the body is read, a head has bounds of size and time, a connection on which nothing is sent is closed, and
bytes that are not HTTP are refused in JSON, where stock bentoml has uvicorn's plain text.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hosting
import httpx
import numpy as np
import pytest
from ports import free_port

from bentos.runtime.card import Card, Golden, Seen
from bentos.runtime.digest import artefact_in, digest_of
from bentos.runtime.log import read_lines
from bentos.runtime.release import Release
from bentos.runtime.scoring import Scorer
from tasks.project import Project
from tasks.release.package import build

KEY = {"authorization": "Bearer k"}
JSON = {"content-type": "application/json"}
ROW = {"x": 1.5, "colour": "red"}
FULL = ROW | {"event_time": "2013-01-01T12:00:00+02:00", "entity": "N101"}
FLAGGED = {"x": 99.5, "colour": "green"}
ID = "01a20d6d-5cae-755f-b57a-e035cddb1574"
WORDS = {
    rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": b"<id>",
    rb"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00": b"<time>",
    rb'"latency_us":\d+': b"<latency>",
}
CLASSES = 'task = "multiclass"\nclasses = ["wet", "dry", "icy"]'
KINDS = hosting.MODEL_TOML.replace('task = "regression"', CLASSES).replace('metric = "mae"', 'metric = "log_loss"')


def toy(_: Path) -> Path:
    """A bento of a regression."""
    return hosting.bento(1.0)


def kinds(folder: Path) -> Path:
    """A bento of three classes: the softmax of x, 0 and 1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    files = {"model.toml": KINDS, "service.py": hosting.SERVICE, "sample.json": hosting.SAMPLE, "__init__.py": ""}
    (folder / "bentos" / "kinds").mkdir(parents=True)
    for name, text in files.items():
        (folder / "bentos" / "kinds" / name).write_text(text)
    (folder / "expectations" / "points").mkdir(parents=True)
    (folder / "expectations" / "points" / "dataset.toml").write_text('source = "points.csv"\n')
    project, made = Project(folder), folder / "artefact"
    spec = project.model("kinds")

    x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1]), helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])
    parts = {"by": np.array([[1, 0, 0]], np.float32), "plus": np.array([[0, 0, 1]], np.float32)}
    nodes = [helper.make_node("Mul", ["x", "by"], ["m"]), helper.make_node("Add", ["m", "plus"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])]
    graph = helper.make_graph(nodes, "kinds", [x], [y], [numpy_helper.from_array(value, name) for name, value in parts.items()])
    made.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), made / "model.onnx")
    seen = {"x": Seen(low=0, high=10), "colour": Seen(values=("blue", "red"))}
    about: dict[str, Any] = {"name": "kinds", "version": "20130101-kinds", "format": "onnx", "contract": spec.contract, "columns": spec.contract.classes}
    card = Card(seen=seen, cutoff=datetime(2013, 1, 1, tzinfo=UTC), holdout_score=0.5, metric="log_loss", **about)
    card.save(made)
    card.model_copy(update={"golden": (Golden(row=ROW, score=Scorer.load(made).score_rows([ROW])[0]),)}).save(made)
    return build(spec, made, card.version, project, folder / "built")


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def hosted(command: list[str], client: httpx.Client, home: Path, log: Path) -> Iterator[httpx.Client]:
    """A server in a process of its own, once it is ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET", "BENTOML", "PYTHON"))}
    told = {"PREDICT_KEY": "k", "HASH_KEY": "h", "RELEASE": "r1", "LOG": str(log)}
    told = {f"RATCHET_{name}": value for name, value in told.items()} | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    with subprocess.Popen(
        command,
        env=kept | told | {"PYTHONDONTWRITEBYTECODE": "1"},
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            until = time.monotonic() + 120
            while not ready(client):
                assert process.poll() is None, "the server ended before it was ready"
                assert time.monotonic() < until, "the server was not ready within 120 s"
                time.sleep(0.05)
            yield client
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def tensors(rows: list[dict[str, Any]], binary: bool) -> tuple[bytes, dict[str, str]]:
    """The body of an infer request, and the headers that tell where its JSON ends."""
    texts = [str(row["colour"]).encode() for row in rows]
    data = [np.array([row["x"] for row in rows]).tobytes(), b"".join(len(text).to_bytes(4, "little") + text for text in texts)]
    told: list[dict[str, Any]] = [{"name": name, "datatype": kind, "shape": [len(rows)]} for name, kind in (("x", "FP64"), ("colour", "BYTES"))]
    for tensor, part in zip(told, data, strict=True):
        tensor |= {"parameters": {"binary_data_size": len(part)}} if binary else {"data": [row[tensor["name"]] for row in rows]}
    head = json.dumps({"id": "order-7", "inputs": told, "parameters": {"binary_data_output": binary}}).encode()
    return (head + b"".join(data), {"inference-header-content-length": str(len(head))}) if binary else (head, JSON)


def requests(name: str) -> dict[str, tuple[str, str, dict[str, str], bytes]]:
    """Method, path, headers and body of what both servers are asked, by what it is."""

    def rows(*rows: dict[str, Any]) -> bytes:
        return json.dumps({"rows": rows}).encode()

    def ask(body: bytes, headers: dict[str, str] | None = None, path: str = "/predict") -> tuple[str, str, dict[str, str], bytes]:
        return "POST", path, JSON | KEY if headers is None else headers, body

    infer, labels = f"/v2/models/{name}/infer", [{"id": ID, "label": "dry" if name == "kinds" else 2.5, "time": "2013-05-30T00:00:00Z"}]
    paths = ("/docs.json", "/schema.json", "/v2", f"/v2/models/{name}", f"/v2/models/{name}/ready", "/livez", "/healthz", "/nowhere", "/predict")
    json_body, json_headers = tensors([ROW, FLAGGED], binary=False)
    binary_body, binary_headers = tensors([ROW, FLAGGED], binary=True)
    return {path: ("GET", path, {}, b"") for path in paths} | {
        "one row": ask(rows(ROW)),
        "a row with everything, and an id of the request": ask(rows(FULL), JSON | KEY | {"x-request-id": "order-7"}),
        "many rows": ask(rows(ROW, FULL, FLAGGED, {"x": 2}, {"x": 3, "colour": None}) + b" " * 3),
        "a thousand rows, which go to the thread": ask(rows(*[FULL] * 1_000)),
        "labels": ask(json.dumps({"labels": labels * 2}).encode(), JSON, "/feedback"),
        "tensors": ask(json_body, json_headers | KEY, infer),
        "binary tensors": ask(binary_body, binary_headers | KEY, infer),
        "no key": ask(rows(ROW), JSON),
        "invalid": ask(rows({"x": "1", "\x00": None})),
        "no JSON": ask(b'{"rows": ['),
        "ahead of the clock": ask(rows(ROW | {"event_time": "2190-01-01T00:00:00Z"})),
        "not JSON by its type": ask(rows(ROW), KEY | {"content-type": "text/plain"}),
        "too large": ask(b" " * 1_000_001),
        "no tensors": ask(b'{"inputs": []}', JSON | KEY, infer),
        "another model": ask(json_body, json_headers | KEY, "/v2/models/other/infer"),
        "a wrong label": ask(b'{"labels": [{"id": "", "label": []}]}', JSON, "/feedback"),
    }


def plain(data: bytes) -> bytes:
    for pattern, word in WORDS.items():
        data = re.sub(pattern, word, data)
    return data


def asked(client: httpx.Client, name: str) -> dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]]:
    """Status, headers and body of every reply."""
    found = {}
    for what, (method, path, headers, body) in requests(name).items():
        reply = client.request(method, path, headers=headers, content=body)
        found[what] = reply.status_code, [(key, plain(value)) for key, value in reply.headers.raw if key.lower() != b"date"], plain(reply.content)
    return found


@pytest.mark.parametrize("make", [toy, pytest.param(kinds, marks=pytest.mark.slow)])
def test_stock_bentoml_and_our_host_serve_the_same_bytes(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    bento, port, release = make(tmp_path / "project"), free_port(), tmp_path / "r.json"
    card = Card.load(artefact_in(bento))
    bytes_of = {"bento": digest_of(bento), "artefact": digest_of(artefact_in(bento), without="model.yaml")}
    release.write_text(Release(id="r1", model=card.name, version=card.version, **bytes_of).model_dump_json())
    ours = [sys.executable, "-m", "bentos.runtime.host", "--release", str(release), "--bento", str(bento), "--socket", str(tmp_path / "s")]
    stock = [sys.executable, "-P", "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    transport = httpx.HTTPTransport(uds=str(tmp_path / "s"))

    with hosted(ours, httpx.Client(transport=transport, base_url="http://host", timeout=60), tmp_path, tmp_path / "ours") as client:
        first = asked(client, card.name)
    with hosted(stock, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60), tmp_path, tmp_path / "stock") as client:
        second = asked(client, card.name)

    for what, reply in first.items():
        assert second[what] == reply, what
    statuses = [status for status, _, _ in first.values()]
    assert {status: statuses.count(status) for status in statuses} == {200: 13, 202: 1, 400: 4, 401: 1, 404: 2, 405: 1, 409: 1, 413: 1, 415: 1}
    assert b'"openapi"' in first["/docs.json"][2]
    assert b'"flags":["unseen:colour","range:x"]' in first["many rows"][2]
    assert b'"model_name":"%s"' % card.name.encode() in first["binary tensors"][2]
    for kind, lines in (("predictions", 1 + 1 + 5 + 1_000 + 2 + 2), ("feedback", 2)):
        one, other = ([plain(line) for line in read_lines(tmp_path / host / card.name / kind)] for host in ("ours", "stock"))
        assert one == other, "and log the same"
        assert len(one) == lines
