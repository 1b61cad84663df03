"""The host program: one generation of one model's server.

    python -m bentos.runtime.host --release FILE --bento DIR --socket PRIVATE_UDS [--listener FD]     under a supervisor
    python -m bentos.runtime.host --release FILE --bento DIR --bind HOST:PORT                         in a container

It checks the digests, loads the bento and warms it up, then serves it. On stdout it says `ready`, and `draining` (what else is printed goes to stderr).
SIGTERM or SIGINT means that another generation has taken over: it accepts no more and drains.
- Under a supervisor it serves a private unix socket. On stdin the line `go` makes it take connections of the shared listener too (it says `accepting`);
  the end of stdin (the starter stopped or died) makes it finish what is under way and exit.
- In a container it serves its port, and stdin means nothing.
Exit codes: 0 drained, 1 did not start, 3 the bytes are not those of the release. What an operator can mend is said in one line on stderr.
"""

import argparse
import asyncio
import inspect
import math
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
import uvloop

from bentos.runtime.digest import DigestError, check, release_in
from bentos.runtime.draining import App, Draining, close_if_idle
from bentos.runtime.place import Place, check_place
from bentos.runtime.protocol import Protocol
from bentos.runtime.sockets import bind, listen

NOT_STARTED, TAMPERED = 1, 3
KEEP_ALIVE_SECONDS = 75  # above the idle time of usual proxies (60 s), so that they close first and never meet a closing connection
LATE_SECONDS = 0.1  # a port is kept so much longer than the order to leave: what was queued by then is taken, not reset
QUEUE_SECONDS = 5.0  # and callers who go on coming for so long do not keep it open


def load(bento: Path, home: Path) -> App:
    """The ASGI app of an exported bento, made from its own copy of the code.

    Args:
        home: A private BENTOML_HOME; servers that share one wipe each other's files.

    Raises:
        DigestError: the service would be imported from outside the bento.
    """
    os.environ["BENTOML_HOME"] = str(home)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    import bentoml

    for name in [name for name in sys.modules if name.partition(".")[0] == "bentos"]:
        del sys.modules[name]  # this program's own package, which would hide the one in the bento
    sys.dont_write_bytecode = True  # a file too many would change the bento's digest
    service: Any = bentoml.load(str(bento))
    origin = Path(inspect.getfile(service.inner)).resolve()
    if not origin.is_relative_to(bento.resolve()):
        raise DigestError(f"The service of {bento} is imported from {origin}, which the release does not name. Nothing was served.")
    app: App = service.to_asgi()
    return app


class Host:
    """Serves an app on a socket of its own (private, or a port) and, when told, on a shared listener; see the module's docstring."""

    def __init__(self, app: App, own: socket.socket, options: argparse.Namespace, say: Callable[[str], None]) -> None:
        self.app = Draining(app)
        self.own, self.options, self.say = own, options, say
        self.config = uvicorn.Config(
            self.app,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",  # its warnings are of what callers send, which is answered and counted: they would crowd out the rest
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody asks who called
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self.server = uvicorn.Server(self.config)
        self.retired = asyncio.Event()
        self.idle_until = math.inf

    async def run(self) -> int:
        """Serve until told to end; returns the exit code."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._retire, self.options.drain_seconds)
        if not self.options.bind:
            loop.add_reader(sys.stdin.fileno(), self._hear)
        self.config.load()
        self.server.lifespan = self.config.lifespan_class(self.config)
        try:
            await self.server.startup(sockets=[self.own])
        except SystemExit:  # uvicorn's answer to a service that does not start; the reason is on stderr
            return NOT_STARTED
        clock = asyncio.create_task(self._clock())
        self.say("ready")
        await self.retired.wait()
        await self._drain()
        clock.cancel()
        await self.server.lifespan.shutdown()
        return 0

    async def _clock(self) -> None:
        """Keep the Date header right, which uvicorn does in its own main loop."""
        while True:
            await self.server.on_tick(0)
            await asyncio.sleep(1)

    def _hear(self) -> None:
        heard = os.read(sys.stdin.fileno(), 4096)
        if not heard:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._retire(0)
        elif heard.split() == [b"go"] and self.options.listener is not None:
            self.accepting = asyncio.create_task(self._accept(self.options.listener))
        else:
            print(f"host: no such order here: {heard!r}", file=sys.stderr)

    async def _accept(self, listener: int) -> None:
        shared = socket.socket(fileno=listener)  # reads the family from the descriptor, so that TCP_NODELAY is set (uvicorn --fd: 40 ms a response)
        shared.setblocking(False)
        self.server.servers.append(await asyncio.get_running_loop().create_server(self._protocol, sock=shared, backlog=self.config.backlog))
        self.say("accepting")

    def _protocol(self) -> asyncio.Protocol:
        return Protocol(self.config, self.server.server_state, self.server.lifespan.state)

    def _retire(self, grace: float) -> None:
        """Accept no more; idle connections have `grace` seconds left. A second call may shorten that."""
        self.idle_until = min(self.idle_until, asyncio.get_running_loop().time() + grace)
        self.app.on = True
        self.retired.set()

    async def _drain(self) -> None:
        """Return when no connection is left."""
        loop = asyncio.get_running_loop()
        if self.options.bind:
            await asyncio.sleep(LATE_SECONDS)
            await self._take_queued(loop.time() + QUEUE_SECONDS)
        for server in self.server.servers:
            server.close()  # this process's copy: what is queued stays in the shared socket
        self.say("draining")
        while (left := self.server.server_state.connections) and loop.time() < self.idle_until + self.options.finish_seconds:
            if loop.time() >= self.idle_until:
                for connection in list(left):
                    close_if_idle(connection)
            await asyncio.sleep(0.02)

    async def _take_queued(self, until: float) -> None:
        """Accept what waits in the port's queue: it would be reset with the port. A busy loop has not come to it yet."""
        while select.select([self.own], [], [], 0)[0] and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.001)


def _voice() -> Callable[[str], None]:
    """Keep stdout for the words of this program; what the service or a library prints goes to stderr."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(word: str) -> None:
        with suppress(BrokenPipeError):  # nobody listens any more
            print(word, file=out)

    return say


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="bentos.runtime.host", description="One generation of one model's server.")
    parser.add_argument("--release", type=Path, required=True, help="file with the release object")
    parser.add_argument("--bento", type=Path, required=True, help="folder of the exported bento")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="private unix socket to serve at once")
    where.add_argument("--bind", metavar="HOST:PORT", help="TCP port to serve instead, without a supervisor")
    parser.add_argument("--listener", type=int, help="descriptor of the shared listener to accept from on `go`")
    parser.add_argument("--drain-seconds", type=float, default=8, help="how long idle connections are kept after SIGTERM")
    parser.add_argument("--finish-seconds", type=float, default=30, help="how long what is under way may take after that")
    options = parser.parse_args(arguments)
    say = _voice()
    try:
        check_place(Place.of(os.environ))
        release = release_in(options.release)
        own = bind(options.bind) if options.bind else None
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        return NOT_STARTED
    try:
        check(release, options.bento)
    except (DigestError, FileNotFoundError) as err:
        print(err, file=sys.stderr)
        return TAMPERED
    with TemporaryDirectory(prefix="ratchet-host-") as home, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        app = load(options.bento, Path(home))
        return runner.run(Host(app, own or listen(options.socket), options, say).run())


if __name__ == "__main__":
    sys.exit(main())
