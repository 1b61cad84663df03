"""What a caller sees: answers, refusals in one shape, and never a 500 for anything sent. And what the log holds afterwards."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bentos.runtime.body import MAX_BODY
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.ids import Uuid7
from bentos.runtime.lines import FeedbackLine, PredictionLine, hash_of
from bentos.runtime.place import Place
from bentos.runtime.rows import Models
from bentos.runtime.scoring import Scorer

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MakeEndpoint = Callable[..., Endpoint]
Logged = Callable[[str], list[dict[str, Any]]]
Row = dict[str, Any]


class Client:
    """Talks ASGI to an app, without a socket."""

    def __init__(self, app: Any) -> None:
        self.transport = httpx.ASGITransport(app)

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://test") as client:
                return await client.request(method, path, **kwargs)

        return asyncio.run(ask())

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("POST", path, **kwargs)


def client_of(endpoint: Endpoint | None) -> Client:
    docs = Starlette(routes=[Route("/schema.json", lambda _: PlainTextResponse("docs"))])
    return Client(Guard(docs, lambda: endpoint))


def code_of(response: Any) -> str:
    """The error code of a refusal, whose shape is checked on the way."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "fields"}
    assert all(set(field) == {"path", "message"} for field in body["error"]["fields"])
    return str(body["error"]["code"])


@pytest.fixture
def client(endpoint: MakeEndpoint) -> Client:
    return client_of(endpoint())


@pytest.mark.parametrize("kind", ["onnx", "sklearn"])
def test_each_row_is_answered_in_order_with_an_id_of_its_own(endpoint: MakeEndpoint, row: Row, kind: str) -> None:
    response = client_of(endpoint(kind=kind)).post("/predict", json={"rows": [row, row | {"carrier": "ZZ"}, row | {"distance": 1e7}]})

    reply = response.json()
    assert response.status_code == 200
    assert (reply["model"], reply["version"], reply["release"]) == ("tiny_binary", "20130531-00000000", "r1")
    assert [answer["flags"] for answer in reply["answers"]] == [[], ["unseen:carrier"], ["range:distance"]]
    ids = [answer["id"] for answer in reply["answers"]]
    assert ids == sorted(set(ids))
    assert all(UUID7.fullmatch(each) for each in ids)


@pytest.mark.parametrize(("task", "kind"), [("binary", bool), ("regression", float), ("multiclass", str)])
def test_a_reply_is_as_the_response_model_says_and_fits_the_task(endpoint: MakeEndpoint, row: Row, task: str, kind: type) -> None:
    served = endpoint(task)

    body = client_of(served).post("/predict", json={"rows": [row]}).content

    served.models.response.model_validate_json(body, strict=True)
    answer = json.loads(body)["answers"][0]

    assert type(answer["prediction"]) is kind
    if task == "multiclass":
        assert len(answer["score"]) == 3
        assert sum(answer["score"]) == pytest.approx(1, abs=1e-5)
        assert answer["prediction"] == ("wet", "dry", "icy")[answer["score"].index(max(answer["score"]))]


def test_a_line_per_row_is_in_the_log_when_the_reply_is_there(endpoint: MakeEndpoint, row: Row, logged: Logged) -> None:
    sent = row | {"event_time": "2013-05-01T08:00:00-04:00", "entity": "N101"}
    del sent["temp"]

    reply = client_of(endpoint(hash_key="k")).post("/predict", json={"rows": [sent, row]}).json()

    first, second = (PredictionLine.model_validate(line) for line in logged("predictions"))
    assert [first.id, second.id] == [answer["id"] for answer in reply["answers"]]
    assert (first.score, first.prediction) == (reply["answers"][0]["score"], reply["answers"][0]["prediction"])
    assert (first.event_time, first.wall_time) == ("2013-05-01T12:00:00+00:00", "2013-06-01T12:00:00+00:00")
    assert second.event_time == second.wall_time
    assert first.row == {name: sent.get(name) for name in row}
    assert (first.entity, second.entity) == (hash_of("N101", b"k"), "")
    assert first.release == "r1"


def test_labels_are_taken_with_202_and_logged(client: Client, row: Row, logged: Logged) -> None:
    name = client.post("/predict", json={"rows": [row]}).json()["answers"][0]["id"]
    labels = [{"id": name, "label": True}, {"id": name, "label": False, "time": "2013-05-30T00:00:00"}]

    response = client.post("/feedback", json={"labels": labels})

    assert (response.status_code, response.json()) == (202, {"accepted": 2})
    lines = [FeedbackLine.model_validate(line) for line in logged("feedback")]
    assert [(line.id, line.label, line.time) for line in lines] == [(name, True, "2013-06-01T12:00:00+00:00"), (name, False, "2013-05-30T00:00:00+00:00")]


NONSENSE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"hello",
    "null": b"null",
    "number": b"7",
    "list": b"[]",
    "empty object": b"{}",
    "no rows": b'{"rows": []}',
    "rows is an object": b'{"rows": {"a": 1}}',
    "row is a list": b'{"rows": [[1]]}',
    "row is a number": b'{"rows": [1]}',
    "deep list": b"[" * 100_000,
    "deep object": b'{"rows":' * 50_000,
    "invalid UTF-8": b'{"rows": [{"carrier": "\xff\xfe"}]}',
    "UTF-16": '{"rows": []}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"rows": []}',
    "lone surrogate": b'{"rows": [{"carrier": "\\ud800"}]}',
    "surrogate in a key": b'{"rows": [{"\\ud800": 1}]}',
    "NaN": b'{"rows": [{"distance": NaN}]}',
    "Infinity": b'{"rows": [{"distance": -Infinity}]}',
    "huge integer": b'{"rows": [{"distance": ' + b"9" * 400 + b"}]}",
    "endless integer": b'{"rows": [{"distance": ' + b"9" * 50_000 + b"}]}",
    "huge exponent": b'{"rows": [{"distance": 1e999999}]}',
    "trailing garbage": b'{"rows": []} x',
    "NUL bytes": b"\0" * 100,
    "long key": b'{"rows": [{"' + b"k" * 100_000 + b'": 1}]}',
    "extra root key": b'{"rows": [], "debug": true}',
    "labels": b'{"labels": [{"id": 1}]}',
    "label is an object": b'{"labels": [{"id": {}, "label": {}}]}',
}


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_a_400_in_the_one_shape_and_leaves_no_line(client: Client, logged: Logged, path: str, body: bytes) -> None:
    response = client.post(path, content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert code_of(response) in {"json", "invalid"}
    assert logged("predictions") + logged("feedback") == []


def test_one_wrong_row_refuses_the_request_and_names_the_row(client: Client, row: Row, logged: Logged) -> None:
    response = client.post("/predict", json={"rows": [row, row | {"carrier": None}]})

    assert response.json()["error"]["fields"] == [{"path": "rows.1.carrier", "message": "Input should be a valid string"}]
    assert logged("predictions") == []


def test_an_integer_is_whole_and_not_nearly_so(client: Client, row: Row) -> None:
    given = {150.0: 200, 1e25: 200, 149.9999999999: 400, 1e-20: 400, 1e31: 400}

    assert {seats: client.post("/predict", json={"rows": [row | {"Seats (n)": seats}]}).status_code for seats in given} == given


def test_a_time_further_ahead_than_the_allowed_skew_is_refused_and_an_old_one_is_fine(client: Client, row: Row) -> None:
    times = {"2013-06-01T12:04:59Z": 200, "2013-06-01T12:05:01Z": 409, "1970-01-01T00:00:00Z": 200}

    assert {time: client.post("/predict", json={"rows": [row | {"event_time": time}]}).status_code for time in times} == times
    label = {"id": "01a20d5c-8524-7047-ac7e-a4eda2751da1", "label": True, "time": "2014-01-01T00:00:00Z"}
    assert code_of(client.post("/feedback", json={"labels": [label]})) == "skew"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("POST", "/predictt", {}, b"{}", 404, "path"),
        ("GET", "/.env", {}, b"", 404, "path"),
        ("GET", "/", {}, b"", 404, "path"),
        ("GET", "/predict", {}, b"", 405, "method"),
        ("DELETE", "/readyz", {}, b"", 405, "method"),
        ("POST", "/predict", {"content-type": "text/plain"}, b"{}", 415, "content_type"),
        ("POST", "/predict", {"content-type": "application/vnd.bentoml+pickle"}, b"{}", 415, "content_type"),
        ("POST", "/predict", {"content-type": "application/json"}, b" " * (MAX_BODY + 1), 413, "too_large"),
        ("POST", "/predict", {"content-type": "application/json", "content-length": "-5"}, b"{}", 413, "too_large"),
    ],
)
def test_what_is_wrong_before_the_body_is_told_in_the_same_shape(
    client: Client, method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    response = client.request(method, path, headers=headers, content=body)

    assert (response.status_code, code_of(response)) == (status, code)
    assert response.headers["x-request-id"]


def test_a_body_without_a_length_is_cut_off_at_the_limit(client: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1000 + 2):
            yield b" " * 1000

    response = client.post("/predict", content=chunks(), headers={"content-type": "application/json"})

    assert (response.status_code, code_of(response)) == (413, "too_large")


def test_a_content_type_may_carry_a_charset(client: Client, row: Row) -> None:
    body = json.dumps({"rows": [row]}).encode()

    assert client.post("/predict", content=body, headers={"content-type": "Application/JSON; charset=utf-8"}).status_code == 200


def test_each_path_asks_its_own_key_and_the_probes_none(endpoint: MakeEndpoint, row: Row) -> None:
    client = client_of(endpoint(predict_key="p", feedback_key="f"))
    body = {"rows": [row]}

    assert client.post("/predict", json=body, headers={"authorization": "Bearer p"}).status_code == 200
    for headers in ({}, {"authorization": "Bearer f"}, {"authorization": "Bearer "}, {"authorization": "p"}):
        response = client.post("/predict", json=body, headers=headers)
        assert (response.status_code, code_of(response), response.headers["www-authenticate"]) == (401, "key", "Bearer")
    assert client.post("/feedback", json={"labels": []}, headers={"authorization": "Bearer p"}).status_code == 401
    assert [client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]


@pytest.mark.parametrize(("given", "echoed"), [("order-7.a:b", True), ("x" * 200, False), ("evil value", False), ("", False)])
def test_a_request_id_is_echoed_when_it_is_sane_and_made_otherwise(client: Client, given: str, echoed: bool) -> None:
    found = client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"]

    assert (found == given) if echoed else UUID7.fullmatch(found)


def test_bentoml_s_page_carries_a_request_id_too(client: Client) -> None:
    response = client.get("/schema.json", headers={"x-request-id": "abc"})

    assert (response.text, response.headers["x-request-id"]) == ("docs", "abc")


def test_nothing_is_answered_before_the_warm_up_nor_after_the_end(artefact: Callable[[str, str], Path], row: Row) -> None:
    scorer = Scorer.load(artefact("binary", "onnx"))
    endpoint = Endpoint(scorer, Models(scorer.card.contract, 3), Place())
    client = client_of(endpoint)

    before = [client.post("/predict", json={"rows": [row]}), client.get("/readyz")]
    endpoint.warm_up()
    during = client.get("/readyz").status_code
    endpoint.close()
    after = client.get("/readyz")

    assert [(reply.status_code, code_of(reply)) for reply in [*before, after]] == [(503, "not_ready")] * 3
    assert during == 200
    assert client.get("/livez").status_code == 200
    assert code_of(client_of(None).get("/readyz")) == "not_ready"


def test_a_model_that_scores_its_golden_rows_otherwise_is_never_ready(artefact: Callable[[str, str], Path]) -> None:
    scorer = Scorer.load(artefact("binary", "onnx"))
    moved = tuple(golden.model_copy(update={"score": golden.score + 0.01}) for golden in scorer.card.golden)
    endpoint = Endpoint(Scorer(scorer.card.model_copy(update={"golden": moved}), scorer.scores), Models(scorer.card.contract, 3), Place())

    with pytest.raises(ValueError, match="golden rows otherwise"):
        endpoint.warm_up()

    assert not endpoint.ready


def test_an_artefact_of_another_contract_is_refused(artefact: Callable[[str, str], Path]) -> None:
    scorer = Scorer.load(artefact("binary", "onnx"))
    other = scorer.card.contract.model_copy(update={"threshold": 0.4})

    with pytest.raises(ValueError, match="not the contract"):
        Endpoint(scorer, Models(other, 3), Place())


def test_what_cannot_be_logged_is_not_answered(endpoint: MakeEndpoint, row: Row) -> None:
    served = endpoint()
    served.close()  # which closes the logs
    served.ready = True
    client = client_of(served)

    replies = [client.post("/predict", json={"rows": [row]}), client.post("/feedback", json={"labels": [{"id": Uuid7()(), "label": True}]})]

    assert [(reply.status_code, code_of(reply)) for reply in replies] == [(503, "log")] * 2


def test_a_server_that_nobody_asks_leaves_its_old_segments(endpoint: MakeEndpoint, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = endpoint()
    assert client_of(served).post("/predict", json={"rows": [row]}).status_code == 200
    folder = tmp_path / "log" / "tiny_binary" / "predictions"
    monkeypatch.setattr("bentos.runtime.guards.TURN_SECONDS", 0.01)
    monkeypatch.setattr("bentos.runtime.log.monotonic", lambda: time.monotonic() + 2 * 86_400)

    async def run_for_a_while(*_: Any) -> None:
        async with asyncio.timeout(60):
            while len(list(folder.glob("*.jsonl"))) < 2:
                await asyncio.sleep(0.01)

    asyncio.run(Guard(run_for_a_while, lambda: served)({"type": "lifespan"}, *[None] * 2))  # type: ignore[arg-type]  # nothing is said

    assert [path.stat().st_size > 0 for path in sorted(folder.glob("*.jsonl"))] == [True, False]


def test_a_row_without_a_finite_score_is_refused_by_its_place(endpoint: MakeEndpoint, row: Row, logged: Logged) -> None:
    served = endpoint()
    served.scorer.score_rows = lambda rows: [0.5, float("nan")]  # type: ignore[method-assign]

    response = client_of(served).post("/predict", json={"rows": [row, row]})

    assert (response.status_code, code_of(response)) == (400, "unscorable")
    assert [field["path"] for field in response.json()["error"]["fields"]] == ["rows.1"]
    assert logged("predictions") == []


def test_a_fault_of_the_server_is_a_500_that_tells_nothing(endpoint: MakeEndpoint, row: Row) -> None:
    served = endpoint()
    served.scorer.score_rows = lambda rows: 1 / 0  # type: ignore[method-assign,return-value]

    response = client_of(served).post("/predict", json={"rows": [row]})

    assert (response.status_code, code_of(response)) == (500, "internal")
    assert "division" not in response.text


def test_metrics_count_rows_flags_and_errors_and_unknown_paths_add_no_series(client: Client, row: Row) -> None:
    client.post("/predict", json={"rows": [row, row | {"carrier": "ZZ"}]})
    client.post("/predict", json={"rows": []})
    before = client.get("/metrics").text
    for i in range(20):
        client.get(f"/scan/{i}")
    after = client.get("/metrics").text

    labels = 'model="tiny_binary",version="20130531-00000000"'
    assert f"ratchet_predictions_total{{{labels}}} 2.0" in after
    assert f'ratchet_flags_total{{flag="unseen:carrier",{labels}}} 1.0' in after
    assert f'ratchet_errors_total{{code="invalid",{labels}}} 1.0' in after
    assert f'ratchet_errors_total{{code="path",{labels}}} 20.0' in after
    assert f"ratchet_request_seconds_count{{{labels}}} 1.0" in after
    assert len(after.splitlines()) == len(before.splitlines()) + 1


def test_requests_that_wait_for_the_thread_are_bounded(endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentos.runtime.routes.MAX_WAITING", 1)
    served, going, release = endpoint(kind="sklearn"), threading.Event(), threading.Event()
    served.predict = lambda body: (going.set(), release.wait(60), b"{}")[2]  # type: ignore[method-assign]
    guard = Guard(Starlette(), lambda: served)
    headers = [(b"content-type", b"application/json")]

    async def request() -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: Any) -> None:
            sent.append(message)

        await guard({"type": "http", "method": "POST", "path": "/predict", "headers": headers}, receive, send)
        return int(sent[0]["status"])

    async def both() -> list[int]:
        first = asyncio.create_task(request())
        await asyncio.to_thread(going.wait, 60)
        second = await request()
        release.set()
        return [await first, second]

    assert asyncio.run(both()) == [200, 503]


def test_who_is_sent_away_is_told_how_long_those_who_wait_will_take(endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    served, moments = endpoint(kind="sklearn"), iter(range(0, 10_000, 16))
    served.predict = lambda body: b"{}"  # type: ignore[method-assign]
    monkeypatch.setattr("bentos.runtime.routes.MAX_WAITING", 3)
    monkeypatch.setattr("bentos.runtime.routes.monotonic", lambda: next(moments))  # each request takes 16 s
    guard = Guard(Starlette(), lambda: served)

    async def flood() -> list[tuple[int, str | None]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://test") as caller:
            replies = await asyncio.gather(*(caller.post("/predict", json={"rows": []}) for _ in range(4)))
        return [(reply.status_code, reply.headers.get("retry-after")) for reply in replies]

    async def twice() -> list[list[tuple[int, str | None]]]:
        return [await flood(), await flood()]

    first, second = asyncio.run(twice())

    assert first == [(200, None)] * 3 + [(503, "1")], "nothing is known yet"
    assert second == [(200, None)] * 3 + [(503, "15")], "3 wait, and of late each took 16 * (1 - (7 / 8) ** 3) = 5.3 s"


def test_the_environment_says_where_a_server_runs() -> None:
    told = {"RATCHET_LOG": "/x", "RATCHET_LOG_BYTES": "9000", "RATCHET_FSYNC": "true", "RATCHET_MAX_SKEW_SECONDS": "60", "RATCHET_PREDICT_KEY": "k"}
    told |= {"RATCHET_HASH_KEY": "h"}

    place = Place.of({"RATCHET_RELEASE": "r9"} | told)

    assert place == Place("r9", Path("/x"), log_bytes=9_000, fsync=True, max_skew=timedelta(seconds=60), predict_key="k", hash_key="h")
    assert "k'" not in repr(place)
    assert "h'" not in repr(place)
    assert Place.of({}) == Place.of({"RATCHET_LOG_BYTES": ""}) == Place()


def test_ids_are_in_order_of_their_making() -> None:
    make = Uuid7()

    ids = [make() for _ in range(5000)]

    assert ids == sorted(set(ids))
    assert all(UUID7.fullmatch(each) for each in ids)
