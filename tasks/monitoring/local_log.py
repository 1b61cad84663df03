"""The log of one machine, read in place as if it were shipped."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.monitoring.pieces import Archive, Piece
from tasks.monitoring.segments import ShippedLog


class LocalLog(ShippedLog):
    """The log of one machine: a segment that its writer has left, because it began another one or is dead, is a piece as if it were shipped."""

    def pieces(self) -> list[Piece]:
        """The segments that will not grow any more, with the sizes that they will keep."""
        found = []
        for piece in super().pieces():
            with _left(Path(self.base, piece.path)) as size:
                found += [] if size is None else [Piece.of(piece.path, size)]
        return found

    def put(self, path: str, data: bytes) -> None:
        """Put a file; what a killed call left half written is cleared away."""
        for part in Path(self.base, path).parent.glob("*.parquet.part"):
            part.unlink()
        super().put(path, data)

    def remove(self, files: Iterable[Piece | Archive]) -> None:
        """Delete files; a segment while nobody can write to it: who has just begun it looks whether it is still there."""
        for file in files:
            path = Path(self.base, file.path)
            if isinstance(file, Archive):
                path.unlink(missing_ok=True)
                continue
            with _left(path) as size:
                if size == file.end:
                    path.unlink()


@contextmanager
def _left(segment: Path) -> Iterator[int | None]:
    """Keep writers away from a segment that none holds; its size, or None: it is held or gone."""
    try:
        file = segment.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield os.fstat(file.fileno()).st_size


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder. BlockingIOError: somebody else does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
