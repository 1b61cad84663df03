"""One model under the local supervisor: its listener, the generation that answers, and the one that may follow."""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from tasks.release.desired import Wanted
from tasks.release.generation import Generation, NotReadyError, environment
from tasks.release.target import ServingStatus
from tasks.settings import Settings

BACKLOG = 2048  # connections that may wait while a process that died is replaced
STEADY_SECONDS = 60.0  # a process that lived this long did not die of its start
LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 12.0  # for what is under way when everything ends; the service itself gives up on a request after 10 s
log = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """The shared listener of a model.

    Raises:
        OSError: the port is taken.
    """
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def pause_seconds(deaths: int) -> float:
    """How long to wait before the next start, after so many deaths in a row: not at all after the first, then from half a second doubling."""
    return 0.0 if deaths <= 1 else min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** min(deaths - 2, 10))


class ModelServer:
    """Keeps the wanted release answering, and takes a candidate live beside it.

    Args:
        wanted: What has answered before; None for a model that is released for the first time.
        listener: Its listener when bound already; else the port is bound when it is needed.
        keep: Called with a candidate that answers, before the generation that it replaces is drained.
    """

    def __init__(
        self, settings: Settings, model: str, port: int, keep: Callable[[Wanted], None], wanted: Wanted | None = None, listener: socket.socket | None = None
    ) -> None:
        self.settings, self.model, self.port, self.keep, self.wanted, self.listener = settings, model, port, keep, wanted, listener
        self.candidate: Wanted | None = None
        self.current: Generation | None = None
        self.old: set[Generation] = set()
        self.leaving: set[asyncio.Task[None]] = set()
        self.using: list[Path] = []
        self.state: Literal["starting", "live", "down"] = "starting"
        self.since, self.born = datetime.now(UTC), 0.0
        self.deaths = self.restarts = 0
        self.error = self.tried = self.refused = ""
        self.wake = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    def apply(self, candidate: Wanted) -> None:
        """Try a release beside the one that answers; what answers already, or is being tried, is left alone."""
        answers = self.state == "live" and self.candidate is None and self.wanted == candidate
        if not answers and self.candidate != candidate:
            self.candidate = candidate
            self.wake.set()
        self.tried, self.refused = candidate.release.id, ""

    def bentos(self) -> set[Path]:
        """Every bento that is wanted, tried, or in use by a process, draining ones included."""
        return {each.bento for each in (self.wanted, self.candidate) if each} | set(self.using)

    def status(self) -> ServingStatus:
        """How the model is served now."""
        release = self.wanted.release if self.wanted else None
        return ServingStatus(
            model=self.model,
            version=release.version if release else "",
            release=release.id if release else "",
            state=self.state,
            port=self.port,
            pid=self.current.process.pid if self.current else 0,
            restarts=self.restarts,
            since=self.since,
            error=self.error,
            tried=self.tried,
            refused=self.refused,
        )

    async def stop(self) -> None:
        """Close the listener, answer what is under way, end every process."""
        self.task.cancel()
        await asyncio.wait([self.task])
        self._close_listener()
        everyone = self.old | ({self.current} if self.current else set())
        for generation in everyone:
            generation.end()
        await asyncio.gather(*(generation.ended(STOP_SECONDS) for generation in everyone))

    async def _run(self) -> None:
        while True:
            self.wake.clear()
            try:
                await self._step()
            except Exception as err:  # a fault of ours with one model must not end the others; it is told, and tried again
                log.exception("%s: unexpected", self.model)
                self.refused = self.error = f"the supervisor failed: {type(err).__name__}: {err}"
                await asyncio.sleep(1)

    async def _step(self) -> None:
        if self.current and self.current.gone.done():
            await self._bury(self.current)
        if self.candidate:
            await self._try(self.candidate)
        elif self.wanted and self.current is None:
            await self._revive(self.wanted)
        else:
            await self._rest()

    async def _rest(self, seconds: float | None = None) -> None:
        """Wait for an order, or for the death of what answers, or so long."""
        order = asyncio.create_task(self.wake.wait())
        await asyncio.wait([order, *([self.current.gone] if self.current else [])], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        order.cancel()

    async def _try(self, candidate: Wanted) -> None:
        """Take a candidate live; when that fails, what was before is as it was."""
        if self.state == "down":
            self._enter("starting")
        try:
            fresh = await self._bring_up(candidate)
            self._commit(candidate, fresh)
        except NotReadyError as err:
            log.warning("%s: release %s refused: %s", self.model, candidate.release.id, err)
            if self.tried == candidate.release.id:
                self.refused = str(err)
            if self.current is None and self.wanted is None:
                self._enter("down", str(err))
        finally:
            if self.candidate is candidate:
                self.candidate = None

    def _commit(self, candidate: Wanted, fresh: Generation) -> None:
        try:
            self.keep(candidate)
        except OSError as err:
            self._drain(fresh)
            raise NotReadyError(f"the desired state cannot be written: {err}") from err
        before, self.current, self.wanted = self.current, fresh, candidate
        self.restarts = self.deaths = 0
        self._enter("live", again=True)
        if before:
            self._drain(before)

    async def _revive(self, wanted: Wanted) -> None:
        """Start again what should answer, after a pause that grows with every death in a row."""
        if pause := pause_seconds(self.deaths):
            await self._rest(pause)
            if self.wake.is_set():
                return
        try:
            self.current = await self._bring_up(wanted)
        except NotReadyError as err:
            self.deaths += 1
            log.error("%s: release %s does not start: %s", self.model, wanted.release.id, err)
            self._enter("down", str(err))
        else:
            self.restarts += self.deaths > 0
            self._enter("live")

    async def _bring_up(self, wanted: Wanted) -> Generation:
        """A new generation that accepts connections.

        Raises:
            NotReadyError: there is none; nothing is left of it.
        """
        try:
            self.listener = self.listener or listen(self.settings.host, self.port)
            folder = self.settings.serving / "run" / f"{self.model}-{uuid4().hex[:12]}"
            told = environment(self.settings, wanted.release)
            fresh = await self._start(wanted, folder, told, self.listener.fileno())
        except OSError as err:
            raise NotReadyError(f"port {self.port} of {self.settings.host}, or a process, cannot be had: {err}") from err
        try:
            await fresh.ready(self.settings.ready_seconds)
            await fresh.go()
        except BaseException:
            await fresh.ended(0)
            raise
        self.born = asyncio.get_running_loop().time()
        return fresh

    async def _start(self, wanted: Wanted, folder: Path, told: Mapping[str, str], listener: int) -> Generation:
        """Start a process; its bento is in use until it is gone."""
        self.using.append(wanted.bento)
        try:
            fresh = await Generation.start(wanted.release, wanted.bento, folder, told, self.settings.drain_seconds, listener)
        except BaseException:
            self.using.remove(wanted.bento)
            raise
        fresh.gone.add_done_callback(lambda _: self.using.remove(wanted.bento))
        return fresh

    def _drain(self, generation: Generation) -> None:
        generation.drain()
        self.old.add(generation)
        leaving = asyncio.create_task(generation.ended())
        self.leaving.add(leaving)
        leaving.add_done_callback(self.leaving.discard)
        leaving.add_done_callback(lambda _: self.old.discard(generation))

    async def _bury(self, generation: Generation) -> None:
        lived = asyncio.get_running_loop().time() - self.born
        self.deaths = 1 if lived > STEADY_SECONDS else self.deaths + 1
        self.current = None
        self._enter("starting", await generation.cause())
        log.error("%s: release %s died after %.0f s: %s", self.model, generation.release.id, lived, self.error)

    def _enter(self, state: Literal["starting", "live", "down"], error: str = "", again: bool = False) -> None:
        if state != self.state or again:
            self.since = datetime.now(UTC)
        self.state, self.error = state, error
        if state == "down":
            self._close_listener()  # callers are refused at once, rather than left waiting for nobody

    def _close_listener(self) -> None:
        if self.listener:
            self.listener.close()
            self.listener = None
