"""Init containers wait for what they need, and say what they waited for in vain without telling its password."""

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployments.kubernetes.wait import wait


class Starting(BaseHTTPRequestHandler):
    """Answers 503 once, then 200."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(503 if self.asked == 1 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_database_is_there_when_something_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wait(f"postgresql+asyncpg://ratchet:hidden@127.0.0.1:{server.getsockname()[1]}/prefect", 60)


def test_a_server_is_there_when_it_answers_well() -> None:
    with HTTPServer(("127.0.0.1", 0), Starting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        wait(f"http://127.0.0.1:{server.server_port}/api/ready", 60)
        server.shutdown()
    assert Starting.asked == 2


def test_what_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1:1 did not answer within 0 s: .*refused") as told:
        wait("postgresql+asyncpg://ratchet:hidden@127.0.0.1:1/prefect", 0)
    assert "hidden" not in str(told.value)


def test_the_program_takes_the_name_of_a_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"postgresql://127.0.0.1:{server.getsockname()[1]}/x"
        done = subprocess.run([sys.executable, "-m", "deployments.kubernetes.wait", "WAIT_FOR"], env={"WAIT_FOR": address}, timeout=60)
    assert done.returncode == 0
