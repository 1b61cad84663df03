"""The sockets of servers: private unix sockets, in folders of any depth, and TCP ports."""

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


def bind(address: str) -> socket.socket:
    """A TCP socket bound to `HOST:PORT`. It does not listen yet: callers are refused, and not left waiting, until the model is warm.

    Raises:
        ValueError: it is no such address. OSError: it cannot be had.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65_536):
        raise ValueError(f"--bind={address} is no HOST:PORT: say 127.0.0.1:3960 for callers on this machine, or 0.0.0.0:3960 for all.")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), int(port)))
    except OSError as err:
        raise OSError(f"{address} cannot be served: {err.strerror}. End what holds it, or give another --bind.") from None
    bound.setblocking(False)
    return bound
