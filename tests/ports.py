"""Free ports for what a test starts: below those that the kernel gives to clients, and in a range of its own for each process that runs tests."""

import os
import secrets
import socket

LOWEST, HIGHEST = 11_000, 29_900
WORKER, WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
SHARE = (HIGHEST - LOWEST) // WORKERS


def free_port() -> int:
    """A port that nothing listens on."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nothing listens on; each model's endpoint takes the next one."""
    while True:
        first = LOWEST + WORKER * SHARE + secrets.randbelow(SHARE - count)
        if all(_is_free(first + number) for number in range(count)):
            return first


def _is_free(number: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", number)).close()
    except OSError:
        return False
    return True
