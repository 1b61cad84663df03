"""Where readers find the prediction log: in place on one machine; on a cluster as a copy of what the serving pods shipped.

A piece whose bytes lie in another one or in an archive is left out, whatever put it there or left it behind: each line is read once.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from bentos.runtime.ship import S3, put
from tasks.errors import PlatformError
from tasks.monitoring.archive import spans_in
from tasks.monitoring.pieces import Archive, Piece, Span, needed, outside, runs, standing
from tasks.settings import Settings

ENOUGH = 16  # pieces in a row that are worth a merge: a request each for every reader, against one rewrite of a few MB
TRIES = 5  # listings before a reader gives up on pieces that are merged under its hands


class ShippedLog:
    """The pieces under the log's URL, of one model or of all.

    Raises:
        PlatformError: from every method, the store cannot be reached or refuses.
    """

    def __init__(self, url: str, model: str = "") -> None:
        self.fs, self.base = fsspec.core.url_to_fs(url, **(S3 | {"use_listings_cache": False} if url.startswith("s3") else {}))
        self.url, self.model = url, model

    def pieces(self) -> list[Piece]:
        """Every piece, also those that lie in another one."""
        return [Piece.of(path, size) for path, size in self._files(".jsonl")]

    def archives(self) -> list[Archive]:
        """Every archive. Who asks for them after the pieces misses no line: an archive is there before its pieces are deleted."""
        return [archive for path, size in self._files(".parquet") if (archive := Archive.of(path, size))]

    def spans(self, archive: Archive) -> list[Span]:
        """What an archive holds the lines of. FileNotFoundError: somebody else deleted it."""

        def read() -> list[Span]:
            with self.fs.open(f"{self.base}/{archive.path}", "rb") as file:
                return spans_in(file, archive.path)

        found: list[Span] = self._ask(read)
        return found

    def read(self, piece: Piece) -> bytes:
        """The bytes of a piece. FileNotFoundError: somebody else archived or merged it."""
        data: bytes = self._ask(lambda: self.fs.cat_file(f"{self.base}/{piece.path}"))
        self._check(piece, data)
        return data

    def fetch(self, files: Iterable[Piece | Archive], folder: Path) -> None:
        """Download files, several at a time.

        Raises:
            FileNotFoundError: one was merged meanwhile.
        """
        there = {f"{self.base}/{file.path}": folder / f"{file.path}.part" for file in files}
        if there:
            for parent in {part.parent for part in there.values()}:
                parent.mkdir(parents=True, exist_ok=True)
            self._ask(lambda: self.fs.get(list(there), list(map(str, there.values()))))
        for part in there.values():
            part.replace(part.with_suffix(""))

    def merge(self, run: list[Piece]) -> Piece:
        """Put one piece that holds the bytes of several in a row."""
        paths = [f"{self.base}/{piece.path}" for piece in run]
        read = self._ask(lambda: self.fs.cat(paths))
        data = b"".join(read[path] for path in paths)
        first, end = run[0], run[-1].end
        # The end comes first in its name: stores list in the order of names, so who lists meanwhile and meets the parts no more meets the whole.
        merged = Piece(first.segment, first.start, end, f"{first.segment}-{end:012}-{first.start:012}.jsonl")
        self._check(merged, data)
        self.put(merged.path, data)
        return merged

    def put(self, path: str, data: bytes) -> None:
        """Put an object, which appears whole or not at all."""
        self._ask(lambda: put(self.fs, f"{self.base}/{path}", data))

    def remove(self, files: Iterable[Piece | Archive]) -> None:
        """Delete files; somebody else may have done it."""
        paths = [f"{self.base}/{file.path}" for file in files]
        if paths:
            with suppress(FileNotFoundError):
                self._ask(lambda: self.fs.rm(paths))

    def _files(self, ending: str) -> list[tuple[str, int]]:
        try:
            found = self._ask(lambda: self.fs.find(f"{self.base}/{self.model}" if self.model else self.base, detail=True))
        except FileNotFoundError as err:  # the bucket; a folder that nothing was shipped to is empty
            raise self._unreadable(err) from err
        return [(path.removeprefix(f"{self.base}/"), info["size"]) for path, info in found.items() if path.endswith(ending)]

    def _check(self, piece: Piece, data: bytes) -> None:
        if len(data) != piece.end - piece.start:
            raise PlatformError(f"What {piece.path} is made of holds {len(data):,} bytes where {piece.end - piece.start:,} were listed", "Nothing was changed.")

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (FileNotFoundError, PlatformError):
            raise
        except Exception as err:  # every store's client has errors of its own
            raise self._unreadable(err) from err

    def _unreadable(self, err: Exception) -> PlatformError:
        remedy = "See whether the store answers, and RATCHET_LOG_URL and the AWS_* variables are right; then try again."
        return PlatformError(f"The prediction log at {self.url} cannot be read ({type(err).__name__}: {err})", remedy)


def local_copy(settings: Settings, model: str = "") -> Path:
    """The folder that holds a model's log, or with no model the folder of all: the log itself, or a copy that is up to date now.

    Raises:
        PlatformError: the store with the log cannot be read.
    """
    if not settings.log_url:
        return settings.logs / model
    log, cache = ShippedLog(settings.log_url, model), settings.root / "log-cache"
    for tries_left in reversed(range(TRIES)):
        try:
            wanted = _update(log, cache)
        except FileNotFoundError:
            if not tries_left:
                raise
            continue
        for path in set(_held(cache / model)) - wanted:
            path.unlink(missing_ok=True)
        break
    return cache / model


def _update(log: ShippedLog, cache: Path) -> set[Path]:
    """Fetch what the copy lacks; returns what it should hold."""
    pieces, archives = log.pieces(), log.archives()
    held = _held(cache / log.model)
    log.fetch([archive for archive in archives if held.get(cache / archive.path) != archive.size], cache)
    spans = [spans_in(cache / archive.path, archive.path) for archive in archives]
    wanted = needed(outside(pieces, spans))
    log.fetch([piece for piece in wanted if held.get(cache / piece.path) != piece.end - piece.start], cache)
    return {cache / path for path in (*(archive.path for archive in archives), *(piece.path for piece in wanted))}


def _held(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for ending in ("jsonl", "parquet") for path in folder.rglob(f"*.{ending}")}


def merge(log: ShippedLog, pieces: Iterable[Piece]) -> int:
    """Merge the many small pieces of each segment into one; returns how many were merged. They are there until somebody deletes them."""
    many = [run for run in runs(pieces) if len(run) >= ENOUGH]
    for run in many:
        with suppress(FileNotFoundError):  # somebody else merged and deleted them
            log.merge(run)
    return sum(map(len, many))


@dataclass(frozen=True)
class Files:
    """The segments and the archives of a folder that hold each of its lines once; false when there are none."""

    segments: tuple[str, ...]
    archives: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> "Files":
        """Look at a folder. FileNotFoundError: a segment was archived meanwhile."""
        pieces = [Piece.of(f"{folder.name}/{path.name}", path.stat().st_size) for path in sorted(folder.glob("*.jsonl"))]
        archives = [path.name for path in folder.glob("*.parquet") if Archive.of(path.name, 0)]  # after the segments, as in `ShippedLog.archives`
        spans = {name: spans_in(folder / name, f"{folder.name}/{name}") for name in archives}
        segments = outside(pieces, spans.values())
        return cls(tuple(str(folder.parent / piece.path) for piece in segments), tuple(str(folder / name) for name in standing(spans)))

    def __bool__(self) -> bool:
        return bool(self.segments or self.archives)
