"""Keeps the log of a model small and no longer than its spec says: pieces are merged, then archived, and old archives are deleted.

What an archive or a merged piece holds is deleted by the next call, so that no reader under way misses it. It may be killed anywhere. Of one machine's
log one call at a time is at work; on a cluster several may be, and what they archive twice is left out by readers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from itertools import chain

from tasks.monitoring.archive import written
from tasks.monitoring.local_log import LocalLog, alone
from tasks.monitoring.pieces import Archive, Cover, Piece, Span, folder_of, needed, outside, standing
from tasks.monitoring.segments import ShippedLog, merge
from tasks.settings import Settings

FULL = 64 << 20  # bytes of JSON that become one archive: at most about these are in memory
PATIENCE = timedelta(days=1)  # after which fewer do


@dataclass(frozen=True)
class Kept:
    """What a call did: how many pieces it merged, archives it made and archives it deleted because they were too old."""

    merged: int = 0
    archived: int = 0
    expired: int = 0


def keep_log(settings: Settings, model: str, keep: timedelta, now: datetime) -> Kept:
    """Merge and archive what waits, and delete archives whose newest line was written more than `keep` ago.

    Lines are archived when 64 MiB of them wait, or a day after the first of them at the latest, at most once a day.

    Raises:
        PlatformError: the store with the log cannot be reached.
    """
    if settings.log_url:
        with suppress(FileNotFoundError):  # another call deleted it, and does the rest
            return _kept(ShippedLog(settings.log_url, model), keep, now)
    elif (settings.logs / model).is_dir():
        with suppress(BlockingIOError), alone(settings.logs / model):
            return _kept(LocalLog(f"file://{settings.logs}", model), keep, now)
    return Kept()


def _kept(log: ShippedLog, keep: timedelta, now: datetime) -> Kept:
    pieces, archives = log.pieces(), log.archives()
    begun = {(folder_of(piece.path), piece.begun): piece for piece in pieces}.values()
    spans = {archive.path: log.spans(archive) for archive in archives if any(map(archive.may_hold, begun))}
    waiting = needed(outside(pieces, spans.values()))
    spare = spans.keys() - standing(spans)
    # Archives first: who is killed in between must find them by their pieces again.
    log.remove([*(archive for archive in archives if archive.path in spare), *sorted(set(pieces) - set(waiting))])
    expired = [archive for archive in archives if now - archive.last > keep and archive.path not in spare and not _is_beside(archive, spans, pieces)]
    log.remove(expired)
    batches = list(_due(waiting, archives, now))
    for batch in batches:
        _archive(log, batch)
    archived = set(chain.from_iterable(batches))
    return Kept(merge(log, [piece for piece in waiting if piece not in archived]), len(batches), len(expired))


def _is_beside(archive: Archive, spans: Mapping[str, Iterable[Span]], pieces: Iterable[Piece]) -> bool:
    """True when pieces that an archive holds were there too: without it they would be archived again."""
    cover = Cover(spans.get(archive.path, ()))
    return any(piece.span in cover for piece in pieces)


def _due(waiting: Iterable[Piece], archives: Iterable[Archive], now: datetime) -> Iterator[list[Piece]]:
    """The pieces of each archive to make now, oldest first. Files that no server named are left alone: nothing says when they were begun."""
    folders: dict[str, list[tuple[datetime, Piece]]] = defaultdict(list)
    for piece in waiting:
        if piece.begun:
            folders[folder_of(piece.path)].append((piece.begun, piece))
    for folder, dated in folders.items():
        newest = max((archive.last for archive in archives if folder_of(archive.path) == folder), default=None)
        *full, rest = _batches(piece for _, piece in sorted(dated))
        patient = min(dated)[0] >= now - PATIENCE or (newest is not None and newest >= now - PATIENCE)
        yield from full if patient else [*full, rest]


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Each as many pieces as make one archive, and at the end the rest."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        if batch and size + piece.end - piece.start > FULL:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.end - piece.start
    yield batch


def _archive(log: ShippedLog, pieces: list[Piece]) -> None:
    folder = folder_of(pieces[0].path)
    lines = (line for piece in pieces for line in whole_lines(log.read(piece)))
    name, data = written(folder.rpartition("/")[2], lines, [piece.span for piece in pieces], [piece.begun for piece in pieces if piece.begun])
    log.put(f"{folder}/{name}", data)


def whole_lines(data: bytes) -> Iterator[bytes]:
    """Lines without their ends. A last one that has none was never answered, and is left out."""
    return (line[:-1] for line in BytesIO(data) if line.endswith(b"\n") and line.strip())
