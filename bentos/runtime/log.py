"""Append-only JSON lines: one open segment per process, one `write` per request, on disk before the reply leaves."""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import orjson

SEGMENT = 8 << 20  # bytes after which a new segment begins
AGE = 86_400.0  # seconds after which one that has lines is left for the next: what was left can be archived, and deleted when it is old


class LogWriter:
    """Writes the segments of a log folder, `<UTC time>-<pid>.jsonl`, one after another.

    A line is in the kernel when `append` returns, so it outlives the process; with `fsync` it outlives a power cut too.
    The newest segment is locked (flock) as long as its writer lives: who gets the lock knows that it will not grow any more.

    Args:
        budget: Bytes that the folder may hold, whoever wrote them; 0: any number. Segments are then at most a quarter of it, so that those
            which are complete can be shipped and deleted.
    """

    def __init__(self, folder: Path, fsync: bool = False, budget: int = 0, segment: int = SEGMENT, age: float = AGE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.fsync, self.budget, self.age = folder, fsync, budget, age
        self.segment = min(segment, budget // 4) if budget else segment
        self._lock = Lock()
        self._file, self._size = -1, 0
        self._limit: float = 0  # size of the open segment up to which nothing else need be looked at
        self._begin()

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write lines with one call, all or none of them.

        Raises:
            OSError: the folder has reached its budget, the disk took only a part or nothing, or the log is closed; what was taken is cut off again.
        """
        data = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        with self._lock:
            if self._size + len(data) > self._limit or monotonic() > self._until:
                self._make_room(len(data))
            written = os.write(self._file, data)
            if written != len(data):
                os.ftruncate(self._file, self._size)
                if not self._size:
                    self.path.unlink(missing_ok=True)  # else each request that a full disk refuses would leave an empty segment
                self._size = self._limit = self.segment  # a reader may have seen what was cut off: no other line may take its place
                raise OSError(errno.ENOSPC, f"the disk took {written} of {len(data)} bytes", str(self.path))
            self._size += written
            if self.fsync:
                os.fdatasync(self._file)

    def turn(self) -> None:
        """Leave a segment that has lines and is too old, as the next line would.

        Raises:
            OSError: no other can be begun.
        """
        with self._lock:
            if self._size and monotonic() > self._until:
                self._next()

    def close(self) -> None:
        """Flush to the disk and close; further lines are refused."""
        with self._lock:
            file, self._file = self._file, -1  # the number may soon be another file's
            self._limit = self._until = float("inf")
            os.fsync(file)
            os.close(file)

    def _begin(self) -> None:
        """Open and lock a new segment."""
        while True:
            path = self.folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z-{os.getpid()}.jsonl"
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:  # else it was taken for a dead writer's before it was locked, and deleted
                break
            os.close(file)
        self.path, self._file, self._size, self._until = path, file, 0, monotonic() + self.age
        self._limit = 0 if self.budget else self.segment

    def _next(self) -> None:
        """Go on in a new segment."""
        left = self._file
        self._begin()
        os.close(left)

    def _make_room(self, needed: int) -> None:
        """Begin a new segment when this one is full, and hold the folder's bytes against the budget. Called at a limit only."""
        if self._size and (self._size + needed > self.segment or monotonic() > self._until):
            self._next()
        if self.budget:
            room = self.budget - _bytes_in(self.folder)
            if needed > room:
                raise OSError(errno.ENOSPC, f"the log has reached its budget of {self.budget:,} bytes", str(self.folder))
            self._limit = min(self.segment, self._size + room)


def read_lines(folder: Path) -> Iterator[bytes]:
    """Whole lines of every segment of a folder, oldest segment first. A last line without its newline was never answered, and is left out."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line


def _bytes_in(folder: Path) -> int:
    held = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # shipped and deleted just now
                held += entry.stat().st_size
    return held
