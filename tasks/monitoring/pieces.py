"""What the folder of a log holds: pieces of its segments, which are JSON lines, and archives, which are Parquet. Which of them hold each line once.

A shipped object, a piece, holds the bytes of one segment from the offset in its name on, and never changes. A merged piece holds those of several.
On one machine a segment is a piece by itself. An archive holds the lines of many pieces and says in its metadata of which.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple

MOMENT = "%Y%m%dT%H%M%S.%fZ"
TIME = r"\d{8}T\d{6}\.\d{6}Z"
NAME = re.compile(rf"(?P<segment>.+-{TIME}-\d+)(-\d{{12}})?-(?P<start>\d{{12}})\.jsonl")
SEGMENT = re.compile(rf"(?:.*[/-])?(?P<begun>{TIME})-\d+(?:\.jsonl)?")
ARCHIVE = re.compile(rf"(?:.*/)?(?P<first>{TIME})-(?P<last>{TIME})-[0-9a-f]{{8}}\.parquet")


class Span(NamedTuple):
    """Bytes `start` to `end` of a segment."""

    segment: str
    start: int
    end: int


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

    @property
    def span(self) -> Span:
        """Its bytes, as archives say which they hold."""
        return Span(self.segment, self.start, self.end)

    @property
    def begun(self) -> datetime | None:
        """When its segment was begun, from the name; None for a file that no server named."""
        found = SEGMENT.fullmatch(self.segment)
        return parsed(found["begun"]) if found else None


@dataclass(frozen=True, order=True)
class Archive:
    """A Parquet file of a log. No line of it was written and no segment of it begun before `first` or after `last`."""

    path: str
    size: int
    first: datetime
    last: datetime

    @classmethod
    def of(cls, path: str, size: int) -> "Archive | None":
        """Read a name; None for a file that is no archive."""
        found = ARCHIVE.fullmatch(path)
        return cls(path, size, parsed(found["first"]), parsed(found["last"])) if found else None

    def may_hold(self, piece: Piece) -> bool:
        """False when it certainly holds nothing of a piece."""
        return piece.begun is not None and self.first <= piece.begun <= self.last and folder_of(self.path) == folder_of(piece.path)


class Cover:
    """The bytes that several spans hold together."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._held: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for segment, start, end in sorted(spans):
            held = self._held[segment]
            if held and start <= held[-1][1]:
                held[-1] = (held[-1][0], max(held[-1][1], end))
            else:
                held.append((start, end))

    def __contains__(self, span: Span) -> bool:
        held = self._held.get(span.segment, [])
        at = bisect_right(held, (span.start, float("inf"))) - 1
        return at >= 0 and span.end <= held[at][1]


def standing(spans: Mapping[str, Iterable[Span]]) -> list[str]:
    """The archives, by path, that hold every line: one that lies in another one is left out, and of two equal ones the second."""
    covers, sharing = {path: Cover(held) for path, held in spans.items()}, defaultdict(set)
    for path, held in spans.items():
        for span in held:
            sharing[span.segment].add(path)

    def lies_in(one: str, other: str) -> bool:
        return all(span in covers[other] for span in spans[one])

    def spare(path: str) -> bool:
        others = {other for span in spans[path] for other in sharing[span.segment]} - {path}
        return any(lies_in(path, other) and (other < path or not lies_in(other, path)) for other in others)

    return [path for path in sorted(spans) if not spare(path)]


def outside(pieces: Iterable[Piece], archives: Iterable[Iterable[Span]]) -> list[Piece]:
    """The pieces that do not lie in the archives."""
    cover = Cover(chain.from_iterable(archives))
    return [piece for piece in pieces if piece.span not in cover]


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


def folder_of(path: str) -> str:
    """The folder of a path, which says model and kind."""
    return path.rpartition("/")[0]


def parsed(text: str) -> datetime:
    """A moment as names write it."""
    return datetime.strptime(text, MOMENT).replace(tzinfo=UTC)
