"""How fast the endpoint is, against what one would use instead: `make bench-serving`, or `python tests/bench/serving [--rounds 3] [--seconds 2]`.

Same model, same rows, same core; wrk has the other core. Servers take turns in every round and the others stand still meanwhile; a ratio is
the median over the rounds, so that whatever else the machine does meets all alike. The last line is JSON, at concurrency 8.
"""

import argparse
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import check
import contenders
import report
from contenders import Contender
from measure import LOADS, MAIN, run
from mlflow_environment import environment
from model import Model, prepare
from servers import Server

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ratchet-bench"  # outside the tree, and kept
Field = dict[Contender, Server]


def field(model: Model, folder: Path, information: bool) -> list[Contender]:
    """Everyone that can take part, ours first."""
    python = environment(CACHE)
    peers = [contenders.mlflow(model, folder, python)] if python else []
    return [
        contenders.ours(model, folder),
        contenders.same(model, folder),
        contenders.bare(model, folder),
        *peers,
        *(contenders.stock(model, folder) if information else []),
    ]


@contextmanager
def started(contestants: list[Contender], model: Model, core: int | None) -> Iterator[list[Server]]:
    """All of them running, right in what they answer, and paused."""
    with ExitStack() as stack:
        servers = []
        for contender in contestants:
            servers.append(contender.start(core))
            stack.callback(servers[-1].stop)
        for contender, server in zip(contestants, servers, strict=True):
            check.wait(contender, server, model.rows[0])
            off = check.right(contender, server, model.rows, model.scores)
            print(f"{contender.name}: {len(model.rows)} rows right, one by one and together, within {off:.1g}", flush=True)
            if contender.log:
                check.guarded(contender, server, model.rows[0])
        check.log_alike(contestants[0], contestants[1])
        for server in servers:
            server.pause()
        yield servers


def measure(contestants: list[Contender], servers: list[Server], model: Model, folder: Path, options: argparse.Namespace) -> report.Results:
    """Rounds in which each takes its turn at each load; a short one before them does not count."""
    results: report.Results = defaultdict(list)
    cores = _cores()
    for number in range(options.rounds + 1):
        for load in LOADS if number else [MAIN]:
            for contender, server in zip(contestants, servers, strict=True):
                bodies = folder / "bodies.txt"
                bodies.write_bytes(b"\n".join(load.bodies(contender, model.rows)))
                server.resume()
                found = run(contender, server, load, bodies, options.seconds if number else 1, cores[1])
                server.pause()
                if number:
                    results[contender.name, load].append(found)
    return results


def _cores() -> tuple[int | None, int | None]:
    """One core for the servers, another one for wrk."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def main() -> None:
    """Prepare, check, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each server at each load in each round")
    parser.add_argument("--no-information", dest="information", action="store_false", help="leave out `bentoml serve`, which has no place in the last line")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing; on Debian: apt-get install wrk")
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=CACHE) as temporary:
        folder = Path(temporary)
        model = prepare(folder)
        contestants = field(model, folder, options.information)
        with started(contestants, model, _cores()[0]) as servers:
            results = measure(contestants, servers, model, folder, options)
            memory = {contender.name: server.memory_mb() for contender, server in zip(contestants, servers, strict=True)}
    report.show(contestants, results, memory)


if __name__ == "__main__":
    main()
