"""One server process of one release, from its start until it is gone. The program that runs in it is bentos.runtime.host."""

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from bentos.runtime.release import Release
from bentos.runtime.sockets import short_path
from tasks.hash_key import hash_key
from tasks.settings import Settings

FINISH_SECONDS = 30  # for what is under way, after the grace for idle connections; the service itself gives up on a request after 10 s
KEPT = 40  # lines of output, in which the reason why a process ended is looked for
TOLD = 4  # of them, when there is no exception
RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt): ")
WIDTH = 600  # characters of each
log = logging.getLogger(__name__)


class NotReadyError(Exception):
    """A generation cannot answer; the message says why."""


class Generation:
    """A host process and the folder with its release object, its pid and its private socket; the folder goes when the process does."""

    def __init__(self, release: Release, process: asyncio.subprocess.Process, folder: Path, drain_seconds: float) -> None:
        self.release, self.process, self.folder, self.drain_seconds = release, process, folder, drain_seconds
        self.output: deque[str] = deque(maxlen=KEPT)
        self._reading = asyncio.create_task(self._read_output())
        self.gone = asyncio.create_task(self._wait())

    @classmethod
    async def start(
        cls, release: Release, bento: Path, folder: Path, environment: Mapping[str, str], drain_seconds: float, listener: int | None = None
    ) -> Self:
        """Start the process in a new folder.

        Args:
            listener: Descriptor of the shared listener that it accepts from after `go`.
        """
        folder.mkdir(parents=True)
        (folder / "release.json").write_text(release.model_dump_json())
        options: dict[str, Path | str] = {"--release": folder / "release.json", "--bento": bento, "--socket": folder / "s"}
        options |= {"--drain-seconds": str(drain_seconds), "--finish-seconds": str(FINISH_SECONDS)}
        options |= {} if listener is None else {"--listener": str(listener)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bentos.runtime.host", *(word for option in options.items() for word in map(str, option))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=() if listener is None else (listener,),
            env={**environment, "TMPDIR": str(folder)},
            cwd=folder,
        )
        (folder / "pid").write_text(str(process.pid))
        return cls(release, process, folder, drain_seconds)

    async def ready(self, timeout_seconds: float) -> None:
        """Return when it answers /readyz, which it does after the model has scored its golden rows.

        No other request is made: it would leave a line in the prediction log, with today's time in it. `sample.json` is tried by the preflight.

        Raises:
            NotReadyError: it ended, or took too long.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self.client() as client:
                await self._expect("ready")
                while (await client.get("/readyz")).status_code != httpx.codes.OK:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NotReadyError(f"it was not ready after {timeout_seconds:g} s{self._last_words()}") from None
        except httpx.HTTPError as err:
            raise NotReadyError(await self.cause() or f"its private socket failed: {err}") from err

    async def go(self) -> None:
        """Let it accept connections of the shared listener; returns when it does.

        Raises:
            NotReadyError: it ended meanwhile.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        await self._expect("accepting")

    def client(self) -> httpx.AsyncClient:
        """A client of its private socket, which is open from the moment that it is ready."""
        return httpx.AsyncClient(transport=_PrivateTransport(self.folder / "s"), base_url="http://host", timeout=30)

    def drain(self) -> None:
        """Another generation has taken over: accept no more, keep idle connections for the grace."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Answer what is under way and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def ended(self, limit_seconds: float | None = None) -> None:
        """Wait until it is gone; after the limit (default: its grace, and the time that it allows itself) it is killed."""
        limit = self.drain_seconds + FINISH_SECONDS + 5 if limit_seconds is None else limit_seconds
        await asyncio.wait([self.gone], timeout=limit)
        if not self.gone.done():
            self.process.kill()
            await asyncio.wait([self.gone])

    async def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        said = (await self.process.stdout.readline()).decode().strip()
        if said != word:
            raise NotReadyError(await self.cause() or f"it said {said!r} in place of {word!r}")

    async def cause(self) -> str:
        """Why it ended; empty when it has not."""
        await asyncio.wait([self.gone], timeout=10)  # its pipes close a moment before
        return f"its process ended with code {self.process.returncode}{self._last_words()}" if self.gone.done() else ""

    def _last_words(self) -> str:
        """The exception at the end of its output, else the last lines."""
        raised = [line for line in self.output if RAISED.match(line)]
        said = raised[-1] if raised else " | ".join(list(self.output)[-TOLD:])
        return f": {said}" if said else ""

    async def _read_output(self) -> None:
        assert self.process.stderr is not None
        rest = b""
        while chunk := await self.process.stderr.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            self._keep(lines)
            rest = rest[:WIDTH]
        self._keep([rest])

    def _keep(self, lines: list[bytes]) -> None:
        for line in lines:
            if text := line.decode(errors="replace").strip()[:WIDTH]:
                self.output.append(text)
                log.info("%s: %s", self.release.id, text)

    async def _wait(self) -> None:
        await self.process.wait()
        await self._reading
        shutil.rmtree(self.folder, ignore_errors=True)


class _PrivateTransport(httpx.AsyncBaseTransport):
    """A new connection for each request, so that the host has none of ours to drain."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        with short_path(self.path) as name:
            async with httpx.AsyncHTTPTransport(uds=name) as transport:
                response = await transport.handle_async_request(request)
                body = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=body)


def environment(settings: Settings, release: Release) -> dict[str, str]:
    """Environment of a host process: the caller's, without what leads to the ledger, the store or Prefect, and what the service is told.

    Raises:
        PlatformError: as `hash_key`.
    """
    ours = {f"RATCHET_{name.upper()}" for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PREFECT_")}
    told = {
        "RATCHET_RELEASE": release.id,
        "RATCHET_LOG": str(settings.logs),
        "RATCHET_FSYNC": str(settings.fsync).lower(),
        "RATCHET_MAX_SKEW_SECONDS": str(settings.max_skew_seconds),
        "RATCHET_PREDICT_KEY": settings.predict_key.get_secret_value(),
        "RATCHET_FEEDBACK_KEY": settings.feedback_key.get_secret_value(),
        "RATCHET_HASH_KEY": hash_key(settings),
        "OMP_NUM_THREADS": "1",  # more cost 4 to 8 times the throughput when cores are shared
    }
    return inherited | told
