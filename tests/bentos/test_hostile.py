"""A real host process and callers who lie, flood and probe: each gets one clear answer, others are served meanwhile, and no log repeats what they sent."""

import json
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path

import hosting
import pytest
from endpoint_up import JSON, EndpointUp, endpoint_up

from bentos.runtime.body import HELD, MAX_BODY
from bentos.runtime.log import read_lines
from bentos.runtime.routes import MAX_WAITING

OK = b'{"rows":[{"x":1}]}'
MARK = "s3cretM4rk"
BROKEN = f"""
from bentos.runtime.scoring import Scorer
score_rows = Scorer.score_rows

def fails(self, rows):
    if "{MARK}" in str(rows):
        raise ValueError(f"no score for {{rows}}")
    return score_rows(self, rows)

Scorer.score_rows = fails
"""

PATIENT = """
from bentos.runtime import routes
routes.BODY_SECONDS = 250.0  # no body is given up while others are sent, however slowly
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointUp]:
    """An endpoint with keys, whose model fails on rows with the mark and tells them in its message."""
    folder = tmp_path_factory.mktemp("hostile")
    toy = hosting.copy(hosting.bento(1.0), folder / "bento")
    service = toy.path / "src" / "bentos" / "toy" / "service.py"
    service.write_text(service.read_text() + BROKEN)
    with endpoint_up(folder, folder / "log", toy.path, predict_key="k", feedback_key="k") as up:
        yield up


def sent(body: bytes, *headers: str, path: str = "/predict", length: int | None = None) -> bytes:
    """The bytes of a request with the key; its length is a lie when one is given, and left out when below zero."""
    listed = ["Host: x", "Connection: close", "Content-Type: application/json", "Authorization: Bearer k", *headers]
    if length is None or length >= 0:
        listed.append(f"Content-Length: {len(body) if length is None else length}")
    return f"POST {path} HTTP/1.1\r\n".encode() + "\r\n".join(listed).encode("latin-1") + b"\r\n\r\n" + body


def told(reply: bytes) -> tuple[int, str]:
    """Status and error code of a raw reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    error = json.loads(body).get("error", {}) if b"application/json" in head else {}
    return int(head[9:12]), error.get("code", "") if isinstance(error, dict) else json.loads(body)["code"]


def rows_of(count: int, row: bytes = b'{"x":1}', head: bytes = b'{"rows":[') -> bytes:
    return head + b",".join([row] * count) + b"]}"


def test_twelve_thousand_rows_are_refused_by_name_of_the_limit_and_cost_little(up: EndpointUp) -> None:
    before = cpu_seconds(up)

    small = up.raw(sent(rows_of(12_000)))
    labels = up.raw(sent(rows_of(12_000, b'{"id":1,"label":1}', b'{"labels":['), path="/feedback"))
    empty = up.raw(sent(rows_of(330_000, b"{}")))
    large = up.raw(sent(rows_of(12_000, b'{"x":1,"colour":"' + b"r" * 100 + b'"}')))

    assert [told(reply) for reply in (small, labels, empty, large)] == [(400, "invalid")] * 3 + [(413, "too_large")]
    assert all(b"at most 1000 items" in reply for reply in (small, labels, empty))
    assert f"{MAX_BODY:,} bytes".encode() in large
    assert max(map(len, (small, labels, empty, large))) < 600
    assert cpu_seconds(up) - before < 1, "all four; it is 0.1 s"


def test_a_flood_of_tensors_or_outputs_costs_little_too(up: EndpointUp) -> None:
    """A million errors took 1.6 s and 1 GB; a thousand outputs of a thousand ids would be a reply of 40 MB."""
    before, path, tensor = cpu_seconds(up), "/v2/models/toy/infer", b'{"name":"x","shape":[1],"datatype":"FP64","data":[1]}'

    replies = [
        up.raw(sent(rows_of(300_000, b"{}", b'{"inputs":['), path=path)),
        up.raw(sent(b'{"inputs":[' + tensor + b"]," + rows_of(5, b'{"name":"id"}', b'"outputs":['), path=path)),
    ]

    assert [told(reply) for reply in replies] == [(400, "invalid")] * 2
    assert cpu_seconds(up) - before < 0.8


def test_a_client_of_the_jdk_offers_http_2_with_its_body_and_is_answered(up: EndpointUp) -> None:
    offer = sent(OK, "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", "Upgrade: h2c")
    reply = up.raw(offer.replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings"), until=b'"answers"')

    assert reply.startswith(b"HTTP/1.1 200 OK") and b'"answers"' in reply


def cpu_seconds(up: EndpointUp) -> float:
    """What the process has computed, to a hundredth of a second."""
    return sum(map(int, Path(f"/proc/{up.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def test_a_caller_who_sends_all_of_a_large_body_before_it_reads_finds_the_refusal(up: EndpointUp) -> None:
    for size in (MAX_BODY + 1, 4_000_000, 20_000_000):
        for key, status in (("k", 413), ("other", 401)):
            connection = HTTPConnection("127.0.0.1", up.port, timeout=30)
            connection.request("POST", "/predict", b" " * size, JSON | {"authorization": f"Bearer {key}"})
            response = connection.getresponse()
            assert (response.status, response.headers["connection"], response.read()[:9]) == (status, "close", b'{"error":')


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(up: EndpointUp) -> None:
    replies = [up.raw(sent(b"", length=10**12))]
    chunks = up.raw(sent(b"", "Transfer-Encoding: chunked", length=-1), *[b"10000\r\n" + b" " * 65_536 + b"\r\n"] * 17)
    waits = up.raw(sent(b"", "Expect: 100-continue", length=MAX_BODY + 1))

    assert [told(reply) for reply in (*replies, chunks, waits)] == [(413, "too_large")] * 3


def test_a_length_that_lies_is_answered_for_what_it_says_or_not_at_all(up: EndpointUp) -> None:
    answered = len(list(read_lines(up.log / "toy" / "predictions")))

    gone = up.raw(sent(OK, length=len(OK) + 50), wait=0.2)
    short = up.raw(sent(OK, length=len(OK) - 1))
    padded = up.raw(sent(OK, length=-1).replace(b"\r\n\r\n", b"\r\nContent-Length: " + b"0" * 40 + b"18\r\n\r\n", 1))

    assert gone == b""
    assert told(short) == (400, "json")
    assert told(padded) == (413, "too_large")
    assert len(list(read_lines(up.log / "toy" / "predictions"))) == answered
    assert 'ratchet_drops_total{model="toy",reason="disconnected"' in up.client.get("/metrics").text


AMBIGUOUS = {
    "two keys": "Authorization: Bearer other",
    "two types": "Content-Type: text/plain",
}


@pytest.mark.parametrize("header", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
@pytest.mark.parametrize("path", ["/predict", "/feedback", "/v2/models/toy/infer"])
def test_a_header_that_decides_may_be_there_once(up: EndpointUp, path: str, header: str) -> None:
    before, after = sent(OK, header, path=path), sent(OK, path=path).replace(b"Host: x\r\n", f"Host: x\r\n{header}\r\n".encode())

    assert [told(up.raw(each)) for each in (before, after)] == [(400, "header")] * 2
    assert b"HTTP/1.1 200" in up.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: a\r\nAccept: b\r\n\r\n")


REFUSED = {
    "two lengths": sent(OK, "Content-Length: 5"),
    "the same length twice": sent(OK, f"Content-Length: {len(OK)}"),
    "a length and chunks": sent(b"12\r\n" + OK + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "an unknown coding": sent(OK, "Transfer-Encoding: xchunked"),
    "chunks, then something": sent(OK, "Transfer-Encoding: chunked, identity", length=-1),
    "a signed length": sent(OK, "Content-Length: +18", length=-1),
    "an endless length": sent(OK, "Content-Length: " + "9" * 30, length=-1),
    "an endless chunk": sent(b"f" * 18 + b"\r\n", "Transfer-Encoding: chunked", length=-1),
    "a folded header": sent(OK, "X-A: b\r\n c"),
    "a space before the colon": sent(OK, "Content-Encoding : gzip"),
    "bare line feeds": sent(OK).replace(b"\r\n", b"\n"),
    "a NUL in a header": sent(OK, "X-A: a\0b"),
    "gzip": sent(OK, "Content-Encoding: gzip"),
    "a key of other letters": sent(OK).replace(b"Bearer k", "Bearer ключ".encode()),
    "a key of any bytes": sent(OK).replace(b"Bearer k", b"Bearer \xff\xfe\x80"),
    "another scheme": sent(OK).replace(b"Bearer k", b"Basic k"),
    "a key without a scheme": sent(OK).replace(b"Bearer k", b"k"),
    "a key in other letters": sent(OK).replace(b"Bearer k", b"Bearer K"),
    "a letter beyond ASCII in a path": "GET /é HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
    "no method of HTTP": b"FETCH /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "garbage": b"garbage\r\n\r\n",
    "UTF-16": sent(OK.decode().encode("utf-16"), path="/feedback"),
    "a depth bomb": sent(b'{"rows":' + b"[" * 300_000),
    "a depth bomb of objects": sent(b'{"parameters":' + b'{"a":' * 90_000, path="/v2/models/toy/infer"),
    "a number beyond numbers": sent(b'{"rows":[{"x":1e400}]}'),
    "half a surrogate": sent(b'{"rows":[{"x":1,"colour":"\\udc00"}]}'),
    "a row of unknown fields": sent(b'{"rows":[{' + b",".join(b'"%x":1' % i for i in range(90_000)) + b"}]}"),
    "the path of a proxy": b"POST http://other/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a path upwards": b"GET /v2/../predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a path of two slashes": b"GET //livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a line feed in a path": b"GET /v2/models/a%0ab/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "OPTIONS": b"OPTIONS /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "TRACE": b"TRACE /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_what_a_proxy_might_read_otherwise_is_refused_and_never_a_fault(up: EndpointUp, request_: bytes) -> None:
    reply = up.raw(request_)

    assert re.match(rb"HTTP/1.1 4\d\d ", reply), reply
    assert reply.count(b"HTTP/1.1 ") == 1, "one answer"
    assert re.search(rb"\r\nx-request-id: [\w-]+\r\n", reply)
    assert told(reply)[1] in {"json", "invalid", "key", "content_type", "method", "path", "model", "too_large", "http"}


def test_what_is_not_http_is_refused_in_the_one_shape_and_counted(up: EndpointUp) -> None:
    def counted() -> float:
        found = re.search(r'ratchet_errors_total\{code="http",[^}]*\} (\S+)', up.client.get("/metrics").text)
        return float(found[1]) if found else 0.0

    names, before = (
        ("two lengths", "a length and chunks", "a signed length", "a letter beyond ASCII in a path", "no method of HTTP", "TLS", "garbage"),
        counted(),
    )
    replies = [up.raw(REFUSED[name]) for name in names]

    assert [told(reply) for reply in replies] == [(400, "http")] * len(names)
    for reply in replies:
        head, _, body = reply.partition(b"\r\n\r\n")
        assert json.loads(body) == {"error": {"code": "http", "message": "Invalid HTTP request received.", "fields": []}}
        assert b"\r\nconnection: close" in head and f"\r\ncontent-length: {len(body)}\r\n".encode() in head
    assert len({re.search(rb"x-request-id: (\S+)", reply)[1] for reply in replies}) == len(names)  # type: ignore[index]
    assert counted() == before + len(names)
    assert "WARNING" not in up.stderr.read_text(), "callers would crowd out what an operator must see"


def test_the_scheme_of_a_key_may_be_in_any_case(up: EndpointUp) -> None:
    replies = [up.raw(sent(OK).replace(b"Bearer k", given)) for given in (b"bearer k", b"BEARER k", b"Bearer  k")]

    assert [reply[:12] for reply in replies] == [b"HTTP/1.1 200"] * 3


def test_space_behind_a_header_is_none_of_its_value(up: EndpointUp) -> None:
    head, _, body = sent(OK, "X-Request-ID: mine", "Content-Encoding: Identity").partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    replies = [up.raw(b"\r\n".join([first, *(header + space for header in headers), b"", body])) for space in (b" ", b"\t", b" \t ")]

    assert [reply[:12] for reply in replies] == [b"HTTP/1.1 200"] * 3
    assert all(b"\r\nx-request-id: mine\r\n" in reply for reply in replies)


def test_no_log_of_errors_holds_a_value_that_was_sent(up: EndpointUp) -> None:
    uuid, tensor = "01a20d5c-8524-7047-ac7e-a4eda2751da1", {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}
    colour = {"name": "colour", "shape": [1], "datatype": "BYTES", "data": [MARK]}
    bodies: dict[str, list[object]] = {
        "/predict": [{"rows": [{"x": MARK}]}, {"rows": [{"x": 1, MARK: 1}]}, {MARK: MARK}, {"rows": MARK}, {"rows": [{"x": 1, "event_time": MARK}]}],
        "/feedback": [{"labels": [{"id": MARK, "label": 1}]}, {"labels": [{"id": uuid, "label": MARK}]}, {"labels": [{"id": uuid, "label": 1, MARK: 1}]}],
        "/v2/models/toy/infer": [
            {"inputs": [tensor | {"data": [MARK]}]},
            {"inputs": [tensor | {"name": MARK}]},
            {"inputs": [tensor | {"datatype": MARK}]},
            {"inputs": [tensor], MARK: 1},
            {"inputs": [tensor | {"parameters": {"binary_data_size": MARK}}]},
            {"inputs": [tensor], "outputs": [{"name": MARK}]},
        ],
    }
    client = up.client
    client.headers["authorization"] = "Bearer k"
    seen: Counter[int] = Counter()
    for path, listed in bodies.items():
        for body in listed:
            seen[client.post(path, json=body).status_code] += 1
        for broken in (f'{{"rows": [{{"x": "{MARK}', MARK, f'{{"rows": "{MARK}\ud800"}}'):
            seen[client.post(path, content=broken.encode(errors="surrogatepass"), headers=JSON).status_code] += 1
        seen[client.post(path, json={}, headers={"authorization": f"Bearer {MARK}", "content-type": MARK}).status_code] += 1
        seen[client.post(f"{path}/{MARK}?{MARK}={MARK}", json={MARK: MARK}).status_code] += 1
    up.raw(sent(OK, f"X-A\0: {MARK}"), sent(MARK.encode(), f"Content-Length: {MARK}", length=-1))
    failed = [client.post("/predict", json={"rows": [{"x": 1, "colour": MARK}]}), client.post("/v2/models/toy/infer", json={"inputs": [tensor, colour]})]

    errors = up.stderr.read_text()
    assert set(seen) == {400, 401, 404}, seen
    assert [reply.status_code for reply in failed] == [500, 500]
    assert MARK not in "".join(reply.text for reply in failed)
    assert MARK not in errors
    assert errors.count("ValueError, whose message is left out") == errors.count("in fails") == 2, "they say where it was"
    assert all(reply.headers["x-request-id"] in errors for reply in failed)


def resident(up: EndpointUp) -> int:
    """Bytes of memory that the process has now."""
    return int(Path(f"/proc/{up.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_bodies_that_never_end_hold_a_bounded_memory_and_others_are_answered(tmp_path: Path) -> None:
    """500 of them took 480 MB, and would have 1.2 GB on a model of wider rows."""
    size, whole = MAX_BODY - 10_000, b'{"rows":[{"x":1}]' + b" " * 900_000 + b"}"
    toy = hosting.copy(hosting.bento(1.0), tmp_path / "bento")
    service = toy.path / "src" / "bentos" / "toy" / "service.py"
    service.write_text(service.read_text() + PATIENT)
    with endpoint_up(tmp_path, tmp_path / "log", toy.path) as up, ExitStack() as open_:
        before, most, refused, client = resident(up), 0, 0, up.client
        for _ in range(250):
            connection = open_.enter_context(socket.create_connection(("127.0.0.1", up.port), timeout=60))
            with suppress(ConnectionError):
                connection.sendall(sent(b" " * size, length=size + 1))
            most = max(most, resident(up))
        while refused < 250 - HELD // size:
            refused = int(re.findall(r'ratchet_drops_total\{model="toy",reason="overloaded",[^}]*\} (\d+)', client.get("/metrics").text)[0])
        assert refused < 250 - HELD // size + 5
        assert up.raw(sent(OK))[:12] == b"HTTP/1.1 200", "in one piece"
        assert told(up.raw(sent(whole))) == (503, "overloaded")

        open_.close()
        until = time.monotonic() + 60
        while not (reply := up.raw(sent(whole))).startswith(b"HTTP/1.1 200") and time.monotonic() < until:
            assert told(reply) == (503, "overloaded"), "for as long as the server has not seen them leave"

    print(f"{(most - before) / 1e6:.0f} MB for {250 * size / 1e6:.0f} MB sent")
    assert reply.startswith(b"HTTP/1.1 200")
    assert most - before < 2 * HELD


def test_small_requests_and_probes_are_answered_while_as_many_big_ones_wait_as_may(tmp_path: Path) -> None:
    big, small = (json.dumps({"rows": [{"x": x, "colour": "red" * 20} for x in range(rows)]}) for rows in (1_000, 1))
    seen: Counter[tuple[int, str | None]] = Counter()
    done = threading.Event()

    with endpoint_up(tmp_path, tmp_path / "log") as up:

        def flood() -> None:
            connection = HTTPConnection("127.0.0.1", up.port, timeout=200)
            while not done.is_set():
                connection.request("POST", "/predict", big, JSON)
                response = connection.getresponse()
                response.read()
                seen[response.status, response.headers["retry-after"]] += 1
            connection.close()

        threads = [threading.Thread(target=flood) for _ in range(MAX_WAITING + 16)]
        for thread in threads:
            thread.start()
        while not (seen[200, None] and any(status == 503 for status, _ in seen)):
            done.wait(0.01)
        client, big_before, slowest = up.client, seen[200, None], 0.0
        for _ in range(20):
            for path in ("/readyz", "/livez", "/metrics", "/predict"):
                began = time.perf_counter()
                reply = client.post(path, content=small, headers=JSON) if path == "/predict" else client.get(path)
                slowest = max(slowest, time.perf_counter() - began)
                assert reply.status_code == 200
        between = seen[200, None] - big_before
        done.set()
        for thread in threads:
            thread.join()

    print(f"slowest of 80 small requests beside {dict(seen)}: {slowest * 1000:.0f} ms")
    assert {status for status, _ in seen} == {200, 503}
    assert all((again is None) == (status == 200) for status, again in seen)
    assert between < 20 * MAX_WAITING / 4, "small ones do not stand in the queue of the big ones, where each of the 20 would wait for all of them"
