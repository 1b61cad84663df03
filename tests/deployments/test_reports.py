"""The report server of a cluster, over a folder and over a bucket."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ports import free_port
from s3 import Bucket, forget, s3, s3_server

from deployments.reports import name_in, serve
from tasks.store import Files

__all__ = ["s3", "s3_server"]


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = f"file://{tmp_path}" if request.param == "folder" else request.getfixturevalue("s3").url
    Files(place).write("secret.html", b"outside")
    Files(f"{place}/reports").write("late/2013-04-v1.html", b"<h1>drift</h1>")
    Files(f"{place}/reports").write("late/2013-04-v1.json", b"{}")
    Files(f"{place}/reports").write("late/model.bin", b"no report")
    return f"{place}/reports"


@pytest.fixture
def address(url: str) -> Iterator[str]:
    with serve(Files(url), ("127.0.0.1", 0)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_report_is_shown_as_a_page(address: str) -> None:
    reply = httpx.get(f"{address}/late/2013-04-v1.html?from=mail")

    assert (reply.status_code, reply.text) == (200, "<h1>drift</h1>")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert httpx.get(f"{address}/late/2013-04-v1.json").headers["content-type"] == "application/json"
    head = httpx.head(f"{address}/late/2013-04-v1.html")
    assert (head.status_code, head.headers["content-length"], head.text) == (200, "14", "")


@pytest.mark.parametrize("path", ["/", "/late", "/late/", "/late/2013-05-v1.html", "/late/model.bin", "/nobody/2013-04-v1.html"])
def test_what_is_no_report_is_not_found_and_no_folder_is_listed(address: str, path: str) -> None:
    reply = httpx.get(address + path)

    assert reply.status_code == 404
    assert "2013-04" not in reply.text


@pytest.mark.parametrize("path", ["../secret.html", "late/../../secret.html", "%2e%2e/secret.html", "late/%2e%2e%2f%2e%2e/secret.html", "//etc/x.html"])
def test_nothing_outside_the_folder_is_shown(address: str, path: str) -> None:
    host = address.removeprefix("http://")
    done = subprocess.run(["curl", "-s", "--path-as-is", "-w", "%{http_code}", f"http://{host}/{path}"], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("404")
    assert "outside" not in done.stdout


def test_nothing_can_be_written_or_removed(address: str, url: str) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert httpx.request(method, f"{address}/late/2013-04-v1.html").status_code == 501

    assert Files(url).read("late/2013-04-v1.html") == b"<h1>drift</h1>"


@pytest.mark.parametrize("path", ["/.hidden.html", "/a//b.html", "/a\\b.html", "/a%00.html", "/a%0a.html", "/html"])
def test_an_odd_name_names_no_report(path: str) -> None:
    assert name_in(path) in {"", "html"}


def test_a_store_that_is_away_is_no_missing_report_and_the_server_is_well(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget()
    with serve(Files(f"{s3.url}/reports"), ("127.0.0.1", 0)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()

        reply = httpx.get(f"http://127.0.0.1:{server.server_port}/late/2013-04-v1.html", timeout=60)

        assert reply.status_code == 503
        assert "wrong" not in reply.text
        assert httpx.get(f"http://127.0.0.1:{server.server_port}/healthz").status_code == 200
        server.shutdown()


def test_the_program_reads_its_settings_and_ends_when_told(s3: Bucket) -> None:
    Files(f"{s3.url}/reports").write("late/2013-04-v1.html", b"<h1>drift</h1>")
    port = free_port()
    env = os.environ | {"RATCHET_REPORT_URL": f"{s3.url}/reports", "RATCHET_REPORTS_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "deployments.reports"], env=env, stderr=subprocess.PIPE, text=True) as program:
        deadline = time.monotonic() + 60
        while True:
            try:
                reply = httpx.get(f"http://127.0.0.1:{port}/late/2013-04-v1.html", timeout=60)
                break
            except httpx.ConnectError:
                assert program.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
        assert reply.text == "<h1>drift</h1>"
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
