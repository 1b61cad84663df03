"""The shipping program: carries the segments of a log folder to a store, line by line, exactly once.

    python -m bentos.runtime.ship --folder DIR --url URL --pod NAME

Every second it puts the new whole lines of each segment as one object, `<model>/<kind>/<pod>-<segment>-<first byte>.jsonl`, and deletes a segment
that is complete and wholly shipped. Which bytes an object holds is noted beside the segment before the object is put: whoever starts again after a
kill puts the same bytes under the same name, so an object never changes. On SIGTERM it goes on until nothing is left, then exits.
Exit codes: 0 nothing is left, 1 the store was away and lines are left, or another shipper is at work.
"""

import argparse
import fcntl
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO

S3 = {"config_kwargs": {"connect_timeout": 3, "read_timeout": 10, "retries": {"total_max_attempts": 1}}}  # the next round is the retry
ENDING = (signal.SIGTERM, signal.SIGINT)
BACKOFF = (0.1, 1.0)  # seconds between rounds at the end: the first and the longest wait


class Shipper:
    """Ships every segment of `<folder>/<model>/<kind>/`. There may be one for a folder.

    Raises:
        BlockingIOError: there is another one.
    """

    def __init__(self, folder: Path, url: str, pod: str) -> None:
        import fsspec  # here, so that signals are heeded from the first moment on

        self.fs, self.base = fsspec.core.url_to_fs(url, **(S3 if url.startswith("s3") else {}))
        self.folder, self.pod = folder, pod
        self._arrived: dict[Path, int] = {}  # up to which byte each segment is in the store for certain
        self._alone = (folder / ".shipper").open("w")
        fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def round(self) -> str:
        """Ship what is new; returns why something could not be shipped, else an empty text."""
        trouble = ""
        for path in self.segments():
            try:
                self._ship(path)
            except Exception as err:  # noqa: BLE001  # every store's client has errors of its own; each means: not now
                trouble = f"{type(err).__name__}: {err}"
        for note in self.folder.glob("*/*/*.note*"):
            if not note.with_name(note.name.partition(".note")[0] + ".jsonl").exists():
                note.unlink()
        return trouble

    def segments(self) -> list[Path]:
        """Every segment that is still here, oldest first in each folder."""
        return sorted(self.folder.glob("*/*/*.jsonl"))

    def _ship(self, path: Path) -> None:
        with path.open("rb") as file:
            complete = _unlocked(file)  # asked first: what is read afterwards is all there will be
            start, end = _noted(path)
            if self._arrived.get(path, 0) < end:
                self._put(path, start, end, _bytes(file, start, end))
            lines = _bytes(file, end)
            start, end = end, end + lines.rfind(b"\n") + 1
            if start < end:
                if not complete:  # else its end is certain, and a full disk must not keep it here
                    _note(path, start, end)
                self._put(path, start, end, lines[: end - start])
            if complete:
                path.unlink()
                _note_of(path).unlink(missing_ok=True)
                self._arrived.pop(path, None)

    def _put(self, path: Path, start: int, end: int, lines: bytes) -> None:
        model, kind = path.parent.parent.name, path.parent.name
        put(self.fs, f"{self.base}/{model}/{kind}/{self.pod}-{path.stem}-{start:012}.jsonl", lines)
        self._arrived[path] = end


def put(fs: Any, path: str, data: bytes) -> None:
    """Put an object, which appears whole or not at all; on a file system that takes a rename."""
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(fs, LocalFileSystem):
        part = Path(f"{path}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch(0o640)  # as the segments are
        part.write_bytes(data)
        part.replace(path)
    else:
        fs.pipe_file(path, data)


def run(shipper: Shipper, interval_seconds: float, grace_seconds: float) -> int:
    """Ship round by round until told to end, then what is left; returns the exit code."""
    trouble = _told("", shipper.round())
    while signal.sigtimedwait(ENDING, interval_seconds) is None:
        trouble = _told(trouble, shipper.round())
    until, wait = monotonic() + grace_seconds, BACKOFF[0]
    while (trouble := _told(trouble, shipper.round())) or shipper.segments():
        if monotonic() + wait > until:
            break
        sleep(wait)
        wait = min(wait * 2, BACKOFF[1])
    left = f"{len(shipper.segments())} segment(s) are left"
    print(f"ship: {f'lines are not in the store: {left}' if trouble else f'every line is in the store: {left}'}", file=sys.stderr)
    return 1 if trouble else 0


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="bentos.runtime.ship", description="Ships the segments of a log folder to a store.")
    parser.add_argument("--folder", type=Path, required=True, help="folder that servers write to (RATCHET_LOG)")
    parser.add_argument("--url", required=True, help="fsspec URL to ship to")
    parser.add_argument("--pod", required=True, help="name that no other shipper of this URL has")
    parser.add_argument("--interval-seconds", type=float, default=1, help="time between two rounds; with one put, what a lost node may cost")
    parser.add_argument("--grace-seconds", type=float, default=60, help="how long to go on after SIGTERM while the store is away or a server still writes")
    options = parser.parse_args(arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # they wait until a round is over
    try:
        shipper = Shipper(options.folder, options.url, options.pod)
    except BlockingIOError:
        print(f"ship: another shipper is at work on {options.folder}", file=sys.stderr)
        return 1
    print(f"ship: ships {options.folder} to {options.url}", file=sys.stderr, flush=True)
    return run(shipper, options.interval_seconds, options.grace_seconds)


def _told(before: str, now: str) -> str:
    if now and not before:
        print(f"ship: cannot ship, and tries again: {now}", file=sys.stderr, flush=True)
    elif before and not now:
        print("ship: ships again", file=sys.stderr, flush=True)
    return now


def _unlocked(file: BinaryIO) -> bool:
    """True when no writer holds the segment: it has begun another one, or is dead."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _bytes(file: BinaryIO, start: int, end: int | None = None) -> bytes:
    file.seek(start)
    return file.read(-1 if end is None else end - start)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".note")


def _noted(path: Path) -> tuple[int, int]:
    """First byte and end of the newest object of a segment, which may not have arrived."""
    try:
        start, end = _note_of(path).read_text().split()
    except FileNotFoundError:
        return 0, 0
    return int(start), int(end)


def _note(path: Path, start: int, end: int) -> None:
    part = path.with_suffix(".note.part")
    part.write_text(f"{start} {end}")
    part.replace(_note_of(path))


if __name__ == "__main__":
    sys.exit(main())
