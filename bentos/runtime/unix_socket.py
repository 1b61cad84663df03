"""Unix sockets in folders of any depth."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 107  # bytes of a socket's path that the kernel takes (sun_path of 108, less the closing NUL)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for `path` that a unix socket may have, valid inside the block: itself, or one through its folder's descriptor."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """A listening socket at `path` that only its owner may use; a stale one there is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as name:
        listener.bind(name)
    path.chmod(0o600)
    listener.listen(128)
    listener.setblocking(False)
    return listener
