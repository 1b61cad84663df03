"""Append-only JSON lines: one file per process, one `write` per request, on disk before the reply leaves."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import orjson


class LogWriter:
    """Writes one segment of a log folder, `<UTC time>-<pid>.jsonl`.

    A line is in the kernel when `append` returns, so it outlives the process; with `fsync` it outlives a power cut too.
    """

    def __init__(self, folder: Path, fsync: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z-{os.getpid()}.jsonl"
        self.fsync = fsync
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size
        self._lock = Lock()

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write lines with one call, all or none of them.

        Raises:
            OSError: the disk took only a part or nothing, or the log is closed; what was taken is cut off again.
        """
        data = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        with self._lock:
            written = os.write(self._file, data)
            if written != len(data):
                os.ftruncate(self._file, self._size)
                raise OSError(f"{self.path}: the disk took {written} of {len(data)} bytes")
            self._size += written
            if self.fsync:
                os.fdatasync(self._file)

    def close(self) -> None:
        """Flush to the disk and close; further lines are refused."""
        with self._lock:
            file, self._file = self._file, -1  # the number may soon be another file's
            os.fsync(file)
            os.close(file)


def read_lines(folder: Path) -> Iterator[bytes]:
    """Whole lines of every segment of a folder, oldest segment first. A last line without its newline was never answered, and is left out."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
