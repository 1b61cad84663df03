"""What a process and its children use, as the kernel tells it."""

from dataclasses import dataclass
from pathlib import Path

OWN_THREADS = b"OMP_NUM_THREADS="


@dataclass(frozen=True)
class Usage:
    """A process with all its children. `omp_threads` is what the process was told for numerical libraries; empty: nothing, so they take every core."""

    processes: int
    threads: int
    omp_threads: str
    memory_bytes: int


def usage(pid: int) -> Usage | None:
    """What a process uses now; None when it has ended, or is another user's."""
    try:
        told = [word for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if word.startswith(OWN_THREADS)]
        found = [_threads_and_memory(each) for each in _family(pid)]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    threads, memory = (sum(column) for column in zip(*found, strict=True))
    return Usage(len(found), threads, told[0].removeprefix(OWN_THREADS).decode() if told else "", memory)


def bytes_of(folder: Path) -> int:
    """Bytes of the files in a folder and those below; none when there is no folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # shipped or compacted meanwhile
            continue
    return total


def _family(pid: int) -> list[int]:
    """A process and what it started, and what that started."""
    children = [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    return [pid, *(each for child in children for each in _family(child))]


def _threads_and_memory(pid: int) -> tuple[int, int]:
    """Threads, and bytes of resident memory."""
    facts = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(facts["Threads"]), int(facts.get("VmRSS", "0 kB").split()[0]) * 1024
