"""A time limit for many tasks that is looked at once a second: a timer for each request costs more than validating most."""

import asyncio
from typing import Any

EVERY = 1.0  # seconds


class Patience:
    """`with patience:` raises TimeoutError in a task that is inside for longer than `seconds`, up to a second later. Any number of tasks may be."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._inside: dict[asyncio.Task[Any] | None, float] = {}
        self._late: set[asyncio.Task[Any] | None] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # on which a look is due

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._inside[asyncio.current_task()] = loop.time() + self.seconds
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(EVERY, self._look, loop)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = asyncio.current_task()
        del self._inside[task]
        if task in self._late:
            self._late.remove(task)
            if task and kind is asyncio.CancelledError and not task.uncancel():
                raise TimeoutError

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for task, until in self._inside.items():
            if task and until < loop.time() and task not in self._late:
                self._late.add(task)
                task.cancel()
        if self._inside:
            loop.call_later(EVERY, self._look, loop)
        else:
            self._loop = None
