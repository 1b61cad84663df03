"""The toy model served by a host process of its own, as in a container, for tests that must see the whole process."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hosting
import httpx
from ports import free_port

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class EndpointUp:
    """A running endpoint; `stderr` is the file that its errors go to, `log` the folder of its prediction and feedback logs."""

    port: int
    process: subprocess.Popen[str]
    stderr: Path
    log: Path

    @property
    def client(self) -> httpx.Client:
        """A new client of it."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def raw(self, *sent: bytes, wait: float = 30, until: bytes = b"") -> bytes:
        """What comes back on one connection until it holds some bytes, is closed, or silent for so many seconds, of bytes sent as they are."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            try:
                for part in sent:
                    connection.sendall(part)
                while not (until and until in received) and (data := connection.recv(65_536)):
                    received += data
            except (TimeoutError, ConnectionError):
                pass
        return received


@contextmanager
def endpoint_up(folder: Path, log: Path, bento: Path | None = None, **told: str) -> Iterator[EndpointUp]:
    """A host that is ready; `told` are its variables without their RATCHET_, in small letters."""
    bento, port, release, stderr = bento or hosting.bento(1.0), free_port(), folder / "release.json", folder / "stderr"
    release.write_text(hosting.release(bento).model_dump_json())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "BENTOML_"))}
    environment = kept | {f"RATCHET_{name.upper()}": value for name, value in {"log": str(log), "release": "r1", **told}.items()}
    command = [sys.executable, "-m", "bentos.runtime.host", f"--release={release}", f"--bento={bento}", f"--bind=127.0.0.1:{port}", "--drain-seconds=0"]
    with (
        stderr.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout and process.stdout.readline() == "ready\n", stderr.read_text()
            yield EndpointUp(port, process, stderr, log)
        finally:
            process.kill()
