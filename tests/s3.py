"""A private S3 server for tests: versitygw over a folder that goes with it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from ports import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "only-for-tests"}


@dataclass(frozen=True)
class Bucket:
    """An empty bucket: its URL, the environment that reaches it, and the folder where the server keeps its objects as files."""

    url: str
    env: dict[str, str]
    folder: Path


def program() -> str | None:
    """versitygw on PATH, where `go install` puts it, or where the build of the images keeps it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ratchet"
    folders = [os.environ.get("GOBIN", ""), str(Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"), *map(str, cache.glob("*"))]
    return shutil.which("versitygw") or shutil.which("versitygw", path=os.pathsep.join(filter(None, folders)))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[str, Path]]:
    """Address of a server and its folder. Its names resolve to loopback; no DNS of buckets is needed."""
    found = program()
    if found is None:
        pytest.skip("versitygw is not installed: CGO_ENABLED=0 go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
    with tempfile.TemporaryDirectory(prefix="ratchet-s3-") as folder:
        port = free_port()
        (Path(folder) / "data").mkdir()
        secrets = {"ROOT_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_ACCESS_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
        command = [found, "--quiet", "--port", f"127.0.0.1:{port}", "posix", "--sidecar", f"{folder}/meta", f"{folder}/data"]
        (Path(folder) / "meta").mkdir()  # beside the objects, for file systems without extended attributes
        with (Path(folder) / "log").open("wb") as log, subprocess.Popen(command, env=os.environ | secrets, stdout=log, stderr=log) as server:
            try:
                wait_for(port, server, Path(folder) / "log")
                yield f"http://localhost:{port}", Path(folder) / "data"
            finally:
                server.terminate()


@pytest.fixture
def s3(s3_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, with this process's environment set to reach it."""
    address, root = s3_server
    folder = root / f"bucket-{uuid4().hex[:12]}"
    folder.mkdir()
    env = {**KEYS, "AWS_ENDPOINT_URL": address, "AWS_REGION": "us-east-1"}
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    forget()
    yield Bucket(f"s3://{folder.name}", env, folder)
    forget()


def forget() -> None:
    """Let the next file system read `AWS_*` anew; fsspec keeps those it made."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a port answers."""
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
