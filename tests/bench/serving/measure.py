"""One wrk run against one server, and what it cost the server."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contenders import Contender, Row
from servers import Server, pinned

SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Load:
    """Rows per request, and connections that each send the next request when they have their answer."""

    name: str
    connections: int
    rows: int = 1

    def bodies(self, contender: Contender, rows: Sequence[Row]) -> list[bytes]:
        """The requests to go through: every row once, in order."""
        return [contender.body(rows[start : start + self.rows]) for start in range(0, len(rows), self.rows)]


LOADS = (Load("1 row, c=1", 1), Load("1 row, c=8", 8), Load("1 row, c=64", 64), Load("100 rows, c=8", 8, 100))
MAIN = LOADS[1]


@dataclass(frozen=True)
class Measured:
    """What one run showed: requests per second, milliseconds at two percentiles, CPU microseconds per request."""

    rps: float
    p50: float
    p99: float
    cpu: float


def run(contender: Contender, server: Server, load: Load, bodies: Path, seconds: int, core: int | None) -> Measured:
    """Load the server for that long. A request that fails or is refused ends the benchmark."""
    headers = [word for name, value in contender.headers.items() for word in ("-H", f"{name}: {value}")]
    options = ["--threads", "1", "--connections", str(load.connections), "--duration", f"{seconds}s", "--timeout", "20s", "--latency", *headers]
    command = [*pinned(core), "wrk", *options, "--script", str(SCRIPT), f"http://127.0.0.1:{server.port}{contender.path}", "--", str(bodies)]
    before = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    spent = server.cpu_seconds() - before
    if done.returncode:
        raise SystemExit(f"wrk failed on {contender.name}: {done.stderr or done.stdout}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise SystemExit(f"{contender.name}, {load.name}: {found['failed']} of {found['requests']} requests failed\n{server.output.read_text()[-2000:]}")
    return Measured(found["requests"] / found["micros"] * 1e6, found["p50"] / 1e3, found["p99"] / 1e3, spent / found["requests"] * 1e6)
