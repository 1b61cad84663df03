"""The one local supervisor: keeps every released model answering on its port, and swaps releases without losing a request.

    python -m tasks.release.supervisor

It owns the listeners and the file `<serving>/desired.json`, and takes one JSON command a line on `<serving>/supervisor.sock` (see desired.py).
SIGTERM or SIGINT: what is under way is answered, then everything ends. After a kill -9 its processes end by themselves, and the next
supervisor serves the same releases again.
"""

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from socket import socket

from pydantic import ValidationError

from bentos.runtime.sockets import listen as listen_privately
from tasks.errors import PlatformError, RatchetError
from tasks.release.desired import COMMANDS, Apply, Command, Desired, Remove, Reply, Status, Stop, Wanted
from tasks.release.fetched import condemn, delete, locked
from tasks.release.model_server import ModelServer, listen
from tasks.release.orphans import end_orphans
from tasks.settings import Settings

PORTS = 200  # tried from Settings.endpoint_port on
LOG_BYTES = 5_000_000
TIDY_SECONDS = 60.0
log = logging.getLogger(__name__)


class Supervisor:
    """Every model's server, the desired state, and the commands. Make it inside a running loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = settings.serving / "desired.json"
        self.desired = Desired.load(self.path)
        self.stopping, self.untidy = asyncio.Event(), asyncio.Event()
        self.servers = {model: ModelServer(settings, model, wanted.port, self._keep, wanted) for model, wanted in self.desired.models.items()}

    async def run(self) -> None:
        """Serve until told to stop, then end everything."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stopping.set)
        commands = await asyncio.start_unix_server(self._hear, sock=listen_privately(self.settings.serving / "supervisor.sock"))
        log.info("supervisor %d serves %s", os.getpid(), ", ".join(self.servers) or "no model yet")
        tidying = asyncio.create_task(self._keep_tidy())
        await self.stopping.wait()
        tidying.cancel()
        commands.close()
        await asyncio.gather(*(server.stop() for server in self.servers.values()))
        log.info("supervisor %d has ended", os.getpid())

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            try:
                reply = await self._obey(COMMANDS.validate_json(line))
            except ValidationError as err:
                reply = Reply(error=f"no such command: {err.errors()[0]['msg']}")
            except RatchetError as err:
                reply = Reply(error=str(err))
            writer.write(reply.model_dump_json().encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _obey(self, command: Command) -> Reply:
        match command:
            case Apply():
                self._apply(command)
            case Remove(model=model):
                await self._remove(model)
            case Stop():
                self.stopping.set()
            case Status():
                pass
        return Reply(pid=os.getpid(), models={model: server.status() for model, server in self.servers.items()})

    def _apply(self, command: Apply) -> None:
        model = command.release.model
        server = self.servers.get(model)
        if server is None:
            listener, port = self._listener(command.port)
            server = self.servers[model] = ModelServer(self.settings, model, port, self._keep, listener=listener)
        if command.port not in (0, server.port):
            raise PlatformError(f"{model!r} is served on port {server.port}, not {command.port}", "Remove it first if it should move.")
        server.apply(Wanted(release=command.release, bento=command.bento, port=server.port))

    def _listener(self, port: int) -> tuple[socket, int]:
        """A new model's listener: on the port that was asked for, or on the first free one."""
        first = self.settings.endpoint_port
        taken = {server.port for server in self.servers.values()}
        found = "no port was free"
        for candidate in [port] if port else range(first, min(first + PORTS, 65536)):
            if candidate not in taken:
                try:
                    return listen(self.settings.host, candidate), candidate
                except OSError as err:
                    found = f"port {candidate} of {self.settings.host} cannot be had: {err.strerror}"
        raise PlatformError(found, "End the program that has it, or choose another port.")

    async def _remove(self, model: str) -> None:
        if server := self.servers.pop(model, None):
            await server.stop()
            self.desired = self.desired.drop(model)
            self.desired.save(self.path)
            self.untidy.set()

    def _keep(self, wanted: Wanted) -> None:
        desired = self.desired.put(wanted)
        desired.save(self.path)
        self.desired = desired
        self.untidy.set()

    async def _keep_tidy(self) -> None:
        """Delete the bentos that nothing serves or would be rolled back to: at the start, after each change, and now and then."""
        while True:
            self.untidy.clear()
            try:
                await self._tidy()
            except OSError as err:
                log.warning("fetched bentos cannot be tidied: %s", err)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.untidy.wait(), TIDY_SECONDS)

    async def _tidy(self) -> None:
        folder = self.settings.serving / "bentos"
        try:
            with locked(folder, wait=False):
                resumed = {wanted.bento for wanted in self.desired.models.values()}
                tried = {bento for server in self.servers.values() for bento in server.bentos()}
                condemned = condemn(folder, resumed | tried | set(self.desired.before.values()))
        except BlockingIOError:  # a release is being asked for
            return
        await asyncio.to_thread(delete, condemned)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of an installation's supervisor.

    Raises:
        PlatformError: another process holds it.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            file.seek(0)
            raise PlatformError(f"Supervisor {file.read().strip()} serves {path.parent} already", "There can be one only; end that one first.") from err
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def main() -> int:
    """The program; returns its exit code."""
    settings = Settings()
    settings.serving.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = RotatingFileHandler(settings.serving / "supervisor.log", maxBytes=LOG_BYTES, backupCount=1, delay=True)
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)

    async def supervise() -> None:
        await Supervisor(settings).run()

    try:
        with only_one(settings.serving / "supervisor.lock"):
            end_orphans(settings.serving / "run")
            asyncio.run(supervise())
    except RatchetError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
