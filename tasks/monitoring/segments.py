"""Where readers find the prediction log: in place on one machine; on a cluster as a copy of what the serving pods shipped.

A shipped object, a piece, holds the bytes of one segment from the offset in its name on, and never changes. A merged piece holds those of several.
A piece whose bytes lie in another one is left out, whatever put it there or left it behind: each line is read once.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from bentos.runtime.ship import S3, put
from tasks.errors import PlatformError
from tasks.settings import Settings

NAME = re.compile(r"(?P<segment>.+-\d{8}T\d{6}\.\d{6}Z-\d+)(-\d{12})?-(?P<start>\d{12})\.jsonl")
ENOUGH = 16  # pieces in a row that are worth a merge: a request each for every reader, against one rewrite of a few MB
TRIES = 5  # listings before a reader gives up on pieces that are merged under its hands


@dataclass(frozen=True, order=True)
class Piece:
    """Bytes `start` to `end` of a segment; `path` is relative to the log's URL, and `segment` is the path without them."""

    segment: str
    start: int
    end: int
    path: str

    @classmethod
    def of(cls, path: str, size: int) -> "Piece":
        """Read a name. Any other file is a segment of its own."""
        folder, _, name = path.rpartition("/")
        found = NAME.fullmatch(name)
        start = int(found["start"]) if found else 0
        return cls(f"{folder}/{found['segment'] if found else name}", start, start + size, path)


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
        try:
            found = self._ask(lambda: self.fs.find(f"{self.base}/{self.model}" if self.model else self.base, detail=True))
        except FileNotFoundError as err:  # the bucket; a folder that nothing was shipped to is empty
            raise self._unreadable(err) from err
        return [Piece.of(path.removeprefix(f"{self.base}/"), info["size"]) for path, info in found.items() if path.endswith(".jsonl")]

    def fetch(self, pieces: Iterable[Piece], folder: Path) -> None:
        """Download pieces, several at a time.

        Raises:
            FileNotFoundError: one was merged meanwhile.
        """
        there = {f"{self.base}/{piece.path}": folder / f"{piece.path}.part" for piece in pieces}
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
        if len(data) != merged.end - merged.start:
            raise PlatformError(f"The pieces of {merged.path} hold {len(data):,} bytes where {merged.end - merged.start:,} were listed", "Nothing was merged.")
        self._ask(lambda: put(self.fs, f"{self.base}/{merged.path}", data))
        return merged

    def remove(self, pieces: Iterable[Piece]) -> None:
        """Delete pieces; somebody else may have done it."""
        paths = [f"{self.base}/{piece.path}" for piece in pieces]
        if paths:
            with suppress(FileNotFoundError):
                self._ask(lambda: self.fs.rm(paths))

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except FileNotFoundError:
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
        wanted = {cache / piece.path: piece for piece in needed(log.pieces())}
        held = {path: path.stat().st_size for path in (cache / model).rglob("*.jsonl")}
        try:
            log.fetch([piece for path, piece in wanted.items() if held.get(path) != piece.end - piece.start], cache)
        except FileNotFoundError:
            if not tries_left:
                raise
            continue
        for path in held.keys() - wanted.keys():
            path.unlink(missing_ok=True)
        break
    return cache / model


def compact(settings: Settings, model: str) -> int:
    """Merge the many small pieces of each segment of a model into one; returns how many were merged.

    They are deleted by the next call, so that no reader under way misses them. It may be killed anywhere, and several may run at once.
    """
    if not settings.log_url:
        return 0
    log = ShippedLog(settings.log_url, model)
    pieces = log.pieces()
    kept = needed(pieces)
    log.remove(sorted(set(pieces) - set(kept)))
    many = [run for run in runs(kept) if len(run) >= ENOUGH]
    for run in many:
        with suppress(FileNotFoundError):  # somebody else merged and deleted them
            log.merge(run)
    return sum(map(len, many))


def needed(pieces: Iterable[Piece]) -> list[Piece]:
    """The pieces that hold every byte once: those that lie in another one are left out."""
    kept: list[Piece] = []
    reached: dict[str, int] = defaultdict(int)
    for piece in sorted(pieces, key=lambda piece: (piece.segment, piece.start, -piece.end, piece.path)):
        if piece.end > reached[piece.segment]:
            kept.append(piece)
            reached[piece.segment] = piece.end
    return kept


def runs(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces of one segment that follow each other without a gap."""
    run: list[Piece] = []
    for piece in pieces:
        if run and (run[-1].segment, run[-1].end) != (piece.segment, piece.start):
            yield run
            run = []
        run.append(piece)
    if run:
        yield run
