"""The OpenAPI document says what the endpoint does: it is the same from every host, and whatever is sent, what comes back is in it."""

import asyncio
import copy
import json
import random
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bentos.runtime.contract import Contract
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.openapi import document
from bentos.runtime.openapi_parts import CODES
from bentos.runtime.rows import Models

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("snapshots") / "openapi-flights_late.json"
KEYED = {"predict": True, "feedback": True}
MakeEndpoint = Callable[..., Endpoint]


def flights_late() -> dict[str, Any]:
    folder = ROOT / "bentos" / "flights_late"
    rows = json.loads((folder / "sample.json").read_text())["rows"]
    return document(Models(Contract.load(folder / "model.toml"), 1_000), "20130321-3d249ae8", rows, KEYED)


def test_the_document_is_the_agreed_one() -> None:
    """After a change on purpose: write `found` to the snapshot (json.dumps with indent=1 and a newline) and read the diff."""
    found = json.dumps(flights_late(), indent=1) + "\n"

    assert found == SNAPSHOT.read_text()


def test_every_code_of_the_runtime_is_documented_with_its_status() -> None:
    source = "".join(path.read_text() for path in (ROOT / "bentos" / "runtime").glob("*.py"))
    raised = set(re.findall(r"""HTTPStatus\.[A-Z_]+,\s*"(\w+)",""", source))

    assert raised == set(CODES)


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_examples_work_and_replies_are_as_their_examples(endpoint: MakeEndpoint, serve: Callable[[Endpoint], str], task: str) -> None:
    with httpx.Client(base_url=f"http://{serve(endpoint(task))}") as client:
        paths = client.get("/docs.json").json()["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                status, response = next(iter(operation["responses"].items()))
                url = path.format(name=f"tiny_{task}", version="20130531-00000000")
                sent = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {}).get("sample", {}).get("value")
                reply = client.request(method, url, json=sent) if sent else client.request(method, url)
                assert (path, reply.status_code) == (path, int(status)), reply.text
                if path not in {"/metrics", "/docs.json"}:
                    example = response["content"]["application/json"]["examples"]["sample"]["value"]
                    assert _shape(reply.json()).keys() == _shape(example).keys(), path


def _shape(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def test_a_key_is_asked_for_in_the_document_when_it_is_set(endpoint: MakeEndpoint, serve: Callable[[Endpoint], str]) -> None:
    with httpx.Client(base_url=f"http://{serve(endpoint(predict_key='p'))}") as client:
        paths = client.get("/docs.json").json()["paths"]

    assert paths["/predict"]["post"]["security"] == paths["/v2/models/{name}/infer"]["post"]["security"] == [{"predict": []}]
    assert paths["/feedback"]["post"]["security"] == [{}, {"feedback": []}]
    assert paths["/readyz"]["get"]["security"] == []


# A fuzzer of JSON: valid requests with a node replaced, doubled or dropped, some of them with a broken byte.

NASTY: list[Any] = [
    None, True, False, 0, -1, 1.5, -0.0, 5e-324, 1e30, 1e31, 1.7e308, float("inf"), float("-inf"), float("nan"), 2**31, 2**63, -(2**63) - 1, 10**400, "", " ", "\0",
    "\ud800", "\udfff\ud800", "é" * 999, "x" * 1_001, "NaN", "1", "true", "9" * 5_000, "2013-02-30T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "20130101", "2013-01-01T00:00:60Z", "2013-W01-1", [], {}, [[]], [None], {"": {}}, [1, "a", None], {"__proto__": 1}, {"\ud800": 1}, [[[[[[[[[[]]]]]]]]]],
]  # fmt: skip


def mutated(body: Any, draw: random.Random) -> bytes:
    """The bytes of a request with up to three faults."""
    root = [copy.deepcopy(body)]
    for _ in range(draw.randint(0, 3)):
        node: Any = root
        while draw.random() < 0.8 and (inner := [key for key in _keys(node) if isinstance(node[key], dict | list) and node[key]]):
            node = node[draw.choice(inner)]
        key = draw.choice(_keys(node))
        match draw.randint(0, 3):
            case 0 if node is not root:
                del node[key]
            case 1 if isinstance(node, list) and node is not root:
                node.append(node[key])
            case 2 if isinstance(node, dict):
                node[draw.choice(["x", "", "\0", "rows", "event_time"])] = copy.deepcopy(draw.choice(NASTY))
            case _:
                node[key] = copy.deepcopy(draw.choice(NASTY))
        if not _keys(node):
            break
    data = json.dumps(root[0], ensure_ascii=draw.random() < 0.9 or "\\ud" in json.dumps(root[0])).encode()
    if draw.random() < 0.1:
        at = draw.randrange(len(data) + 1)
        data = data[:at] + draw.choice([b"\xff", b"\0", b"\xc3", b'"', b"{", b"]", b"[" * 50_000, b"\\u0000", b"\xef\xbb\xbf"]) + data[at:]
    return data


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))


def test_no_json_makes_the_server_fail(endpoint: MakeEndpoint, row: dict[str, Any]) -> None:
    served, draw = endpoint("multiclass"), random.Random(5)
    guard = Guard(Starlette(), lambda: served)
    full = row | {"event_time": "2013-05-01T08:00:00-04:00", "entity": "N101"}
    kinds = {str: "BYTES", bool: "BOOL", int: "INT64", float: "FP64"}
    inputs = [{"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in full.items()]
    bodies = {
        "/predict": {"rows": [full, row]},
        "/feedback": {"labels": [{"id": "01a20d5c-8524-7047-ac7e-a4eda2751da1", "label": "dry", "time": "2013-05-30T00:00:00Z"}]},
        "/v2/models/tiny_multiclass/infer": {"id": "1", "parameters": {"priority": 1}, "inputs": inputs, "outputs": [{"name": "score"}]},
    }
    allowed = {
        path: {int(status) for status in operation["post"]["responses"]}
        for path, operation in document(served.models, "v", [row], KEYED)["paths"].items()
        if "post" in operation
    }
    allowed["/v2/models/tiny_multiclass/infer"] = allowed["/v2/models/{name}/infer"]

    async def ask(path: str, body: bytes) -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        await guard({"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", b"application/json")]}, receive, send)
        return sent[0]["status"], sent[1]["body"]

    async def fuzz() -> Counter[tuple[str, int]]:
        seen: Counter[tuple[str, int]] = Counter()
        for _ in range(4_000):
            path = draw.choice(list(bodies))
            body = mutated(bodies[path], draw)
            status, reply = await ask(path, body)
            assert status in allowed[path] - {500, 503}, (path, body, reply)
            assert (status < 300) is ("error" not in json.loads(reply)), (path, body, reply)
            seen[path, status] += 1
        return seen

    seen = asyncio.run(fuzz())
    for path in bodies:
        assert sum(count for (each, status), count in seen.items() if each == path and status < 300) > 100, seen
        assert seen[path, 400] > 500, seen


RAW = {
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    "broken chunks": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "bytes in the path": b"GET /%ff%fe\x80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a NUL in the path": b"GET /v2/models/%00/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a slash in the name": b"GET /v2/models/a%2fb/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "an absolute path": b"GET http://x/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "bytes in a header": b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: \xff\xfe\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("sent", RAW.values(), ids=RAW.keys())
def test_no_malformed_http_makes_the_server_fail(endpoint: MakeEndpoint, serve: Callable[[Endpoint], str], sent: bytes) -> None:
    served = endpoint()
    host, _, port = serve(served).partition(":")

    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        reply = connection.recv(4096)

    assert not reply or re.match(rb"HTTP/1.1 (200|4\d\d) ", reply), reply
    assert httpx.get(f"http://{host}:{port}/readyz", timeout=60).status_code == 200
    assert 'code="internal"' not in served.metrics.render().decode()


@pytest.mark.slow
def test_schemathesis_finds_nothing_with_all_its_checks(endpoint: MakeEndpoint, serve: Callable[[Endpoint], str], tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    served = endpoint(predict_key="k", feedback_key="k")
    served.clock = lambda: datetime(2200, 1, 1, tzinfo=UTC)  # its times reach to 2198; those ahead of the clock are conflicts
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{serve(served)}/docs.json", "--header=Authorization: Bearer k", "--checks=all"]

    done = subprocess.run(
        [*command, "-n", "50", "--seed=1", "--continue-on-failure", "--no-color"], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )

    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr
    assert served.metrics.predictions._value.get() > 200, f"rows answered\n{done.stdout}"
    assert served.metrics.feedback._value.get() > 30, f"labels taken\n{done.stdout}"
