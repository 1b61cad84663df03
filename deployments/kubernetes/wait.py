"""`python -m deployments.kubernetes.wait NAME`: waits until what the address in environment variable NAME points to answers.

For init containers: a server that starts before its database dies and is started again later and later, and a worker that starts
before the server asks it again only after a minute. The address is named, not given, because a database's holds its password.
"""

import os
import socket
import sys
import time
from urllib.parse import SplitResult, urlsplit
from urllib.request import urlopen

WAIT_SECONDS = 300.0  # then the pod fails and says why; Kubernetes starts it again
POLL_SECONDS = 0.5


def wait(address: str, seconds: float = WAIT_SECONDS) -> None:
    """Return when an http address answers 2xx, or when something listens at the host and port of any other URL.

    Raises:
        TimeoutError: it does not within that many seconds; the message names the place and the last problem, never a password.
    """
    url = urlsplit(address)
    until = time.monotonic() + seconds
    while problem := _problem(url):
        if time.monotonic() > until:
            raise TimeoutError(f"{url.hostname}:{url.port} did not answer within {seconds:g} s: {problem}")
        time.sleep(POLL_SECONDS)


def _problem(url: SplitResult) -> str:
    try:
        if url.scheme in {"http", "https"}:
            urlopen(url.geturl(), timeout=5).close()  # noqa: S310  # the scheme is checked
        else:
            socket.create_connection((url.hostname or "", url.port or 5432), timeout=5).close()
    except OSError as err:
        return str(err) or type(err).__name__
    return ""


if __name__ == "__main__":
    try:
        wait(os.environ[sys.argv[1]])
    except TimeoutError as err:
        sys.exit(str(err))
