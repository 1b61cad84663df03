"""A client made for Triton, KServe or MLServer calls a model unchanged, and gets the answers, refusals and log lines of /predict."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bentos.runtime.endpoint import Endpoint
from bentos.runtime.inference_v2 import SERVER
from bentos.runtime.lines import hash_of
from bentos.runtime.tensors_v2 import limits

triton = pytest.importorskip("tritonclient.http")
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

NUMBERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64")
MODEL, VERSION = "tiny_binary", "20130531-00000000"
INFER = f"/v2/models/{MODEL}/infer"
MakeEndpoint = Callable[..., Endpoint]
Serve = Callable[[Endpoint], str]
Logged = Callable[[str], list[dict[str, Any]]]


def rows_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Three rows, of which the last holds nulls and what training did not see."""
    first = row | {"event_time": "2013-05-01T12:00:00Z", "entity": "N101"}
    return [first, row | {"distance": 300.5}, row | {"carrier": "ZZ", "Seats (n)": None, "temp": None}]


def columns_of(rows: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The rows as a client of the protocol holds them: no null but NaN and the empty string."""
    text = {name: np.array([row.get(name) or "" for row in rows], dtype=object) for name in ("carrier", "origin", "event_time", "entity")}
    floats = {name: np.array([np.nan if row[name] is None else row[name] for row in rows], dtype="float64") for name in ("Seats (n)", "temp", "distance")}
    return text | floats | {"weekend": np.array([row["weekend"] for row in rows])}


def tensors(columns: dict[str, np.ndarray[Any, Any]], binary: bool, wide: bool = False) -> list[Any]:
    inputs = []
    for name, column in columns.items():
        values = column.reshape(-1, 1) if wide else column
        inputs.append(triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)).set_data_from_numpy(values, binary_data=binary))
    return inputs


def json_of(row: dict[str, Any]) -> dict[str, Any]:
    """The body of a request of one row, written by hand."""
    kinds = {str: "BYTES", bool: "BOOL", int: "INT64", float: "FP64"}
    return {"inputs": [{"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in row.items()]}


@pytest.fixture
def address(endpoint: MakeEndpoint, serve: Serve) -> str:
    return serve(endpoint(hash_key="k"))


@pytest.mark.parametrize(("binary", "wide"), [(True, True), (True, False), (False, True), (False, False)])
def test_tritonclient_gets_the_answers_and_the_log_lines_of_predict(address: str, row: dict[str, Any], logged: Logged, binary: bool, wide: bool) -> None:
    rows = rows_of(row)
    plain = httpx.post(f"http://{address}/predict", json={"rows": rows}).json()

    with triton.InferenceServerClient(address) as client:
        found = client.infer(MODEL, tensors(columns_of(rows), binary, wide), request_id="order-7")

    assert found.as_numpy("score").tolist() == [answer["score"] for answer in plain["answers"]]
    assert found.as_numpy("prediction").tolist() == [answer["prediction"] for answer in plain["answers"]]
    assert [json.loads(flags) for flags in found.as_numpy("flags")] == [answer["flags"] for answer in plain["answers"]] == [[], [], ["unseen:carrier"]]
    reply = found.get_response()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == (MODEL, VERSION, "order-7")
    assert reply["parameters"] == {"release": "r1", "time": "2013-06-01T12:00:00+00:00"}
    lines = logged("predictions")
    own = ("id", "latency_us")
    assert [{k: v for k, v in line.items() if k not in own} for line in lines[:3]] == [{k: v for k, v in line.items() if k not in own} for line in lines[3:]]
    assert [line["id"].encode() for line in lines[3:]] == found.as_numpy("id").tolist()
    assert (lines[3]["event_time"], lines[3]["entity"]) == ("2013-05-01T12:00:00+00:00", hash_of("N101", b"k"))


@pytest.mark.parametrize(("task", "shape"), [("regression", (3,)), ("multiclass", (3, 3))])
@pytest.mark.parametrize("binary", [True, False])
def test_every_task_answers_in_the_shape_that_its_metadata_says(
    endpoint: MakeEndpoint, serve: Serve, row: dict[str, Any], task: str, shape: tuple[int, ...], binary: bool
) -> None:
    address = serve(endpoint(task))
    columns, wanted = columns_of(rows_of(row)), [triton.InferRequestedOutput(name, binary_data=binary) for name in ("score", "prediction")]

    with triton.InferenceServerClient(address) as client:
        metadata = client.get_model_metadata(f"tiny_{task}", VERSION)
        found = client.infer(f"tiny_{task}", tensors(columns, binary=True), model_version=VERSION, outputs=wanted)

    assert [output["name"] for output in found.get_response()["outputs"]] == ["score", "prediction"]
    assert found.as_numpy("score").shape == shape
    assert {output["name"]: output["shape"][1:] for output in metadata["outputs"]}["score"] == list(shape[1:])
    plain = httpx.post(f"http://{address}/predict", json={"rows": rows_of(row)}).json()["answers"]
    assert found.as_numpy("score").tolist() == [answer["score"] for answer in plain]


def test_tritonclient_finds_server_and_model_ready_and_knows_them(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(MODEL)
        assert client.is_model_ready(MODEL, VERSION)
        assert not client.is_model_ready("another")
        assert not client.is_model_ready(MODEL, "20120101-00000000")
        assert client.get_server_metadata() == SERVER
        inputs = {put["name"]: put["datatype"] for put in client.get_model_metadata(MODEL)["inputs"]}

    text, number = ("carrier", "origin", "event_time", "entity"), ("Seats (n)", "temp", "distance")
    assert inputs == {**dict.fromkeys(text, "BYTES"), **dict.fromkeys((*number, "weekend"), "FP64")}, "a boolean that may be null has to have a NaN"


@pytest.mark.parametrize(("dtype", "binary"), [("float32", True), ("float16", True), ("float64", False)])
def test_booleans_with_nulls_among_them_are_sent_as_floats(address: str, row: dict[str, Any], logged: Logged, dtype: str, binary: bool) -> None:
    rows = [row | {"weekend": value} for value in (True, False, None)]
    plain = httpx.post(f"http://{address}/predict", json={"rows": rows}).json()["answers"]
    columns = columns_of(rows) | {"weekend": np.array([1, 0, np.nan if binary else 1], dtype=dtype)}

    with triton.InferenceServerClient(address) as client:
        found = client.infer(MODEL, tensors(columns, binary))

    assert found.as_numpy("score").tolist() == [answer["score"] for answer in plain]
    assert [line["row"]["weekend"] for line in logged("predictions")[3:]] == [True, False, None if binary else True]


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, np.inf, 1e-20])
def test_a_float_that_is_no_boolean_is_refused_by_its_row(address: str, row: dict[str, Any], value: float) -> None:
    columns = columns_of([row, row]) | {"weekend": np.array([1.0, value])}

    with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException, match=r"400.*rows\.1\.weekend: "):
        client.infer(MODEL, tensors(columns, binary=True))


def test_the_empty_string_is_refused_where_null_is_in_the_words_of_predict(address: str, row: dict[str, Any]) -> None:
    empty = row | {"carrier": ""}

    replies = [httpx.post(f"http://{address}{path}", json=body) for path, body in (("/predict", {"rows": [empty]}), (INFER, json_of(empty)))]

    fields = [{"path": "rows.0.carrier", "message": "String should have at least 1 character"}]
    assert [reply.status_code for reply in replies] == [400, 400]
    assert [replies[0].json()["error"]["fields"], replies[1].json()["fields"]] == [fields, fields]


def test_the_key_is_that_of_predict_and_tritonclient_shows_why_it_is_refused(endpoint: MakeEndpoint, serve: Serve, row: dict[str, Any]) -> None:
    address, columns = serve(endpoint(predict_key="p", feedback_key="f")), columns_of([row])

    with triton.InferenceServerClient(address) as client:
        client.infer(MODEL, tensors(columns, binary=True), headers={"Authorization": "Bearer p"})
        with pytest.raises(InferenceServerException, match=r"401.*predict key"):
            client.infer(MODEL, tensors(columns, binary=True), headers={"Authorization": "Bearer f"})
        columns.pop("distance")
        with pytest.raises(InferenceServerException, match=r"400.*rows.0.distance: The field is missing"):
            client.infer(MODEL, tensors(columns, binary=True), headers={"Authorization": "Bearer p"})
        with pytest.raises(InferenceServerException, match=f"404.*{MODEL}, version {VERSION}"):
            client.infer("another", tensors(columns, binary=True), headers={"Authorization": "Bearer p"})


def test_what_is_refused_says_so_in_one_shape_and_leaves_no_line(address: str, row: dict[str, Any], logged: Logged) -> None:
    body = json_of(row)
    first, rest = body["inputs"][0], body["inputs"][1:]
    wrong = {
        "two of a name": {"inputs": [first, first, *rest]},
        "unknown name": {"inputs": [first | {"name": "debug"}, *body["inputs"]]},
        "another n": {"inputs": [first | {"shape": [2], "data": ["UA", "UA"]}, *rest]},
        "too many rows": {"inputs": [put | {"shape": [4], "data": put["data"] * 4} for put in body["inputs"]]},
        "a matrix": {"inputs": [first | {"shape": [1, 2], "data": ["UA", "UA"]}, *rest]},
        "fewer values": {"inputs": [first | {"data": []}, *rest]},
        "no data": {"inputs": [{key: value for key, value in first.items() if key != "data"}, *rest]},
        "no scalar": {"inputs": [first | {"shape": [], "data": "UA"}, *rest]},
        "negative": {"inputs": [first | {"shape": [-1]}, *rest]},
        "another type": {"inputs": [first | {"data": [7]}, *rest]},
        "unknown type": {"inputs": [first | {"datatype": "STRING"}, *rest]},
        "a null": {"inputs": [first | {"data": [None]}, *rest]},
        "binary elsewhere": {"inputs": [first | {"parameters": {"binary_data_size": 6}}, *rest]},
        "unknown output": body | {"outputs": [{"name": "logits"}]},
        "classification": body | {"outputs": [{"name": "score", "parameters": {"classification": 2}}]},
        "no inputs": {"inputs": []},
        "unknown key": body | {"debug": True},
    }

    with httpx.Client(base_url=f"http://{address}") as client:
        replies = {name: client.post(INFER, json=each) for name, each in wrong.items()}
        assert client.post(INFER, json=body).status_code == 200

    assert {name: reply.status_code for name, reply in replies.items()} == dict.fromkeys(wrong, 400)
    for reply in replies.values():
        assert set(reply.json()) == {"error", "code", "fields"}
        assert (type(reply.json()["error"]), reply.json()["code"]) == (str, "invalid")
    assert len(logged("predictions")) == 1


@pytest.mark.parametrize(
    ("size", "body"), [("x", b"{}"), ("0", b"{}"), ("9", b"{}"), ("9" * 5000, b"{}"), ("-1", b"{}"), ("2", b"{}\xff\xff\xff\xff\xff"), ("1", b"{}")]
)
def test_a_wrong_size_of_the_json_is_a_400(address: str, size: str, body: bytes) -> None:
    reply = httpx.post(f"http://{address}{INFER}", content=body, headers={"inference-header-content-length": size})

    assert (reply.status_code, set(reply.json())) == (400, {"error", "code", "fields"})


@pytest.mark.parametrize(
    ("datatype", "value"), [("INT8", 1041), ("INT8", 37.9), ("UINT8", -5), ("UINT8", 300), ("INT64", 2**64), ("FP16", 70_000), ("FP64", 10**400), ("BOOL", 1)]
)
def test_a_value_that_its_datatype_cannot_hold_is_refused_by_its_place(address: str, row: dict[str, Any], datatype: str, value: float) -> None:
    body = json_of(row | {"distance": 5})
    for put in body["inputs"]:
        put |= {"shape": [2], "data": put["data"] * 2} if put["name"] != "distance" else {"shape": [2], "datatype": datatype, "data": [None, value]}

    reply = httpx.post(f"http://{address}{INFER}", json=body)

    assert (reply.status_code, reply.json()["code"], reply.json()["fields"][0]["path"]) == (400, "invalid", "inputs.distance.data.1")
    assert str(value) not in reply.text or value == 1
    assert reply.json()["error"].startswith(f"A tensor of the request is wrong. inputs.distance.data.1: The value is not {datatype}: ")


def test_binary_text_that_is_not_utf_8_is_refused_by_its_place(address: str, row: dict[str, Any]) -> None:
    columns = columns_of([row, row]) | {"carrier": np.array([b"UA", b"\xe9t\xe9"], dtype=object)}

    with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException, match=r"400.*inputs\.carrier\.data\.1: .* not text in UTF-8"):
        client.infer(MODEL, tensors(columns, binary=True))


@pytest.mark.parametrize("value", [127, -128, 5.0, 1041, 0.1, 2**53 + 1])
def test_what_a_datatype_holds_is_answered_as_by_predict(address: str, row: dict[str, Any], logged: Logged, value: float) -> None:
    plain = httpx.post(f"http://{address}/predict", json={"rows": [row | {"distance": value}]}).json()["answers"]
    held = [datatype for datatype in NUMBERS if limits(datatype)[0] <= value <= limits(datatype)[1] and (value % 1 == 0 or datatype.startswith("FP"))]
    for datatype in held:
        body = json_of(row)
        for put in body["inputs"]:
            put |= {"datatype": datatype, "data": [value]} if put["name"] == "distance" else {}
        found = {output["name"]: output["data"] for output in httpx.post(f"http://{address}{INFER}", json=body).json()["outputs"]}
        assert (datatype, found["score"]) == (datatype, [answer["score"] for answer in plain])

    assert len(held) >= 3
    assert len({line["row"]["distance"] for line in logged("predictions")}) == 1


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_may_send_numbers_in_every_dtype(address: str, row: dict[str, Any], binary: bool) -> None:
    rows = [row | {"Seats (n)": value} for value in (0, 100, 127)]
    plain = httpx.post(f"http://{address}/predict", json={"rows": rows}).json()["answers"]

    with triton.InferenceServerClient(address) as client:
        for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"):
            found = client.infer(MODEL, tensors(columns_of(rows) | {"Seats (n)": np.array([0, 100, 127], dtype=dtype)}, binary))
            assert (dtype, found.as_numpy("score").tolist()) == (dtype, [answer["score"] for answer in plain])


@pytest.mark.parametrize("datatype", ["INT8", "FP16", "FP64"])
def test_a_null_in_json_is_a_null_of_predict_in_every_datatype(address: str, row: dict[str, Any], datatype: str) -> None:
    body = json_of(row)
    for name in ("Seats (n)", "distance"):
        sent = {"inputs": [put | ({"datatype": datatype, "data": [None]} if put["name"] == name else {}) for put in body["inputs"]]}
        replies = [httpx.post(f"http://{address}{path}", json=sent) for path, sent in (("/predict", {"rows": [row | {name: None}]}), (INFER, sent))]
        assert [reply.status_code for reply in replies] == [200 if name == "Seats (n)" else 400] * 2
    assert replies[0].json()["error"]["fields"] == replies[1].json()["fields"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", INFER, 405, "method"),
        ("POST", f"/v2/models/{MODEL}", 405, "method"),
        ("POST", "/v2/models/another/infer", 404, "model"),
        ("POST", f"/v2/models/{MODEL}/versions/1/infer", 404, "model"),
        ("GET", f"/v2/models/{MODEL}/versions/1", 404, "model"),
        ("GET", "/v2/models", 404, "path"),
        ("GET", "/v2/repository/index", 404, "path"),
        ("GET", f"/v2/models/{MODEL}/unload", 404, "path"),
    ],
)
def test_paths_that_are_not_there_are_told_so_and_add_no_series(address: str, method: str, path: str, status: int, code: str) -> None:
    with httpx.Client(base_url=f"http://{address}") as client:
        client.request(method, path)
        before = client.get("/metrics").text
        reply = client.request(method, path)
        after = client.get("/metrics").text

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert f'ratchet_errors_total{{code="{code}",model="{MODEL}",version="{VERSION}"}} 2.0' in after
    assert len(before.splitlines()) == len(after.splitlines())


def test_infer_counts_in_the_same_metrics(address: str, row: dict[str, Any]) -> None:
    with httpx.Client(base_url=f"http://{address}") as client:
        client.post(INFER, json=json_of(row))
        metrics = client.get("/metrics").text

    labels = f'model="{MODEL}",version="{VERSION}"'
    assert f"ratchet_predictions_total{{{labels}}} 1.0" in metrics
    assert f"ratchet_request_seconds_count{{{labels}}} 1.0" in metrics


def test_the_protocol_s_pages_are_not_ready_before_the_model(endpoint: MakeEndpoint, serve: Serve, row: dict[str, Any]) -> None:
    served = endpoint()
    address = serve(served)
    served.ready = False

    with httpx.Client(base_url=f"http://{address}") as client:
        found = {path: client.get(path).status_code for path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}/ready")}
        reply = client.post(INFER, json=json_of(row))

    assert found == {"/v2/health/live": 200, "/v2/health/ready": 503, f"/v2/models/{MODEL}/ready": 503}
    assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")


def test_the_server_s_version_is_the_project_s() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert (SERVER["name"], SERVER["version"]) == (project["name"], project["version"])
