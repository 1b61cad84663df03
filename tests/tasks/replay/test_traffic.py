"""The client sends every row once, in order, never again, and counts what failed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.replay.traffic import send_labels, send_rows


class Endpoint(BaseHTTPRequestHandler):
    """Answers with the row's number as id; refuses every seventh row."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, int]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(body)
        if self.path == "/feedback":
            self.reply(202, {"accepted": len(body["labels"])})
        elif body["rows"][0]["n"] % 7 == 6:
            self.reply(400, {"error": {"code": "invalid"}})
        else:
            self.reply(200, {"answers": [{"id": f"id-{body['rows'][0]['n']}"}]})

    def reply(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def address() -> Iterator[str]:
    Endpoint.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_ids_come_back_in_the_order_of_the_rows_and_failures_are_counted(address: str) -> None:
    sent = send_rows(address, [b'{"n":%d}' % n for n in range(20)], clients=3)

    assert sent.failed == 2
    assert sent.ids == ["" if n % 7 == 6 else f"id-{n}" for n in range(20)]
    assert "HTTP 400" in sent.problem
    assert len(Endpoint.seen) == 20, "no row is sent twice"


def test_nobody_there_is_a_failure_of_each_row_and_no_exception() -> None:
    sent = send_rows("http://127.0.0.1:9", [b"{}", b"{}"], clients=2)

    assert (sent.ids, sent.failed) == (["", ""], 2)


def test_labels_go_many_to_a_request(address: str) -> None:
    assert send_labels(address, [{"id": str(n), "label": True} for n in range(2_500)]) == 2_500
    assert [len(body["labels"]) for body in Endpoint.seen] == [1_000, 1_000, 500]


def test_a_row_is_not_sent_before_it_is_due(address: str) -> None:
    sent = send_rows(address, [b'{"n":%d}' % n for n in range(3)], clients=2, due_seconds=[0.0, 0.1, 0.4])

    assert sent.failed == 0
    assert sent.seconds >= 0.4
