"""The bentos that this machine has fetched, one folder each, and which of them are kept.

Whoever fetches one and asks for it holds the lock of the folder, and so does whoever chooses what is deleted: nothing goes between the two.
What a dot precedes is no bento: a part that is being fetched, or one that is being deleted.
"""

import fcntl
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from bentos.runtime.digest import digest_of
from bentos.runtime.release import Release
from tasks.store import Ref, Store

LOCK = ".lock"


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of the fetched bentos.

    Raises:
        BlockingIOError: somebody else has it, and `wait` is off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def fetch(release: Release, store: Store, folder: Path) -> Path:
    """The bento of a release, from the store unless its bytes are here already. The lock is held by the caller.

    Raises:
        StoreError: the store does not give it.
    """
    ref = Ref.parse(release.bento)
    bento = folder / ref.digest[:16]
    if bento.exists() and digest_of(bento) != release.bento:
        shutil.rmtree(_condemn(bento))  # somebody changed it
    return store.get_tree(ref, bento)


def condemn(folder: Path, kept: Collection[Path]) -> list[Path]:
    """Take every bento that is not kept out of use; returns what may be deleted now, with what an earlier end left. The lock is held by the caller."""
    names = {path.name for path in kept}
    for bento in folder.iterdir():
        if not bento.name.startswith(".") and bento.name not in names:
            _condemn(bento)
    return [path for path in folder.iterdir() if path.name.startswith(".") and path.name != LOCK]


def delete(condemned: Collection[Path]) -> None:
    """Delete what was condemned. What resists is left for the next time."""
    for path in condemned:
        shutil.rmtree(path, ignore_errors=True)


def _condemn(bento: Path) -> Path:
    """Rename first: a folder that is there counts as whole, and a deletion may be killed halfway."""
    return bento.rename(bento.with_name(f".{bento.name}.{uuid4().hex}"))
