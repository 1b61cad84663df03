"""A pickled pipeline in a process of its own. Opening a pickle runs what is written in it, and a row may end what scores it: both happen in the child.

This is the server's side; what runs in the child is `child_program`.
Server and child speak lines of JSON over a socket pair: a row is a list in the contract's order, a score that is no number is null.
A child that dies or hangs fails the request that it was scoring; another is started at once, and requests that come meanwhile wait for it.
"""

import hashlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
import orjson

from bentos.runtime.card import FILES, Card
from bentos.runtime.child_program import FAILED
from bentos.runtime.errors import Refused
from bentos.runtime.scoring import Array, Row, Scorer, Scores

if TYPE_CHECKING:
    import pandas as pd

    from bentos.runtime.contract import Contract

SECONDS = 10.0  # for an answer, which takes milliseconds, or for a child that is being started
START_SECONDS = 60.0  # for a child to import its libraries and open the pipeline
ENDING = 5.0  # for a child that has left its socket to be gone: its exit code says why
PAUSE = 2.0  # seconds between a child that did not start and the next
KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")  # of the environment: no key, no address
STDERR = 2  # its descriptor
# the path of the server: the same code, even from a bento
START = "import sys; sys.path[:] = sys.argv[3:]; from bentos.runtime.child_program import main; main()"
log = logging.getLogger(__name__)


def served(folder: Path) -> Scorer:
    """Open an artefact folder for a server: ONNX in its own process, a pickle in a child.

    Raises:
        ChildProcessError: the child does not open it; its stderr, which is the server's, says why.
    """
    card = Card.load(folder)
    return Scorer.load(folder) if card.format == "onnx" else Scorer(card, ChildScores(folder, card.contract))


class ChildScores(Scores):
    """The scores of the pipeline in an artefact folder, whose pickle is opened by a child only; one request at a time.

    Raises:
        ChildProcessError: as `served`.
    """

    def __init__(self, folder: Path, contract: "Contract", seconds: float = SECONDS) -> None:
        self.folder, self.seconds, self.features = folder, seconds, tuple(contract.features)
        with (folder / FILES["sklearn"]).open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.life: Life | None = None
        self._free: SimpleQueue[Life] = SimpleQueue()  # holds the child while nobody asks it
        self.down = False  # when the last attempt to start it failed; then nobody waits
        self._closed = Event()
        first: Future[None] = Future()
        self._keeper = Thread(target=self._keep, args=(first,), name="child's keeper", daemon=True)
        self._keeper.start()
        first.result()

    def of_rows(self, rows: Sequence[Row]) -> Array:
        """See `Scores`.

        Raises:
            Refused: the child died or hung over these rows, or is not there. RuntimeError: the pipeline failed.
        """
        question = orjson.dumps([[row.get(name) for name in self.features] for row in rows], option=orjson.OPT_APPEND_NEWLINE)
        life = self._taken()
        answer = life.ask(question, self.seconds)
        if not answer:
            message = f"The model's process died over this request, or was silent for {self.seconds:g} s; it is started again."
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "crashed", message)
        self._free.put(life)
        if answer == FAILED:
            raise RuntimeError(f"the pipeline of {self.folder} failed; its process has said on stderr where")
        return np.array(orjson.loads(answer), np.float64)  # null becomes NaN

    def of_frame(self, frame: "pd.DataFrame") -> Array:
        """See `Scores`."""
        return self.of_rows([{str(name): value for name, value in row.items()} for row in frame.to_dict("records")])

    def close(self) -> None:
        """End the child. What is being scored is refused."""
        self.down = True
        self._closed.set()
        if self.life:
            self.life.process.kill()
        self._keeper.join(1)

    def child(self) -> int:
        """See `Scores`."""
        return self.life.process.pid if self.life else 0

    def _taken(self) -> "Life":
        """The child, for one request alone; one that died since is passed over for the next."""
        while True:
            try:
                life = self._free.get(timeout=0 if self.down else self.seconds)
            except Empty:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The model's process is being started again.") from None
            if life.process.poll() is None:
                return life

    def _keep(self, first: Future[None]) -> None:
        """Start the child, and again whenever it ends; all from this one thread, since the kernel ends a child with the thread that started it."""
        while not self._closed.is_set():
            try:
                self.life = Life(self.folder, self.digest)
            except OSError as err:
                if not first.done():
                    first.set_exception(err)
                    return
                log.error("%s The next attempt is in %g s.", err, PAUSE)
                self.down = True
                self._closed.wait(PAUSE)
                continue
            self.down = False
            self._free.put(self.life)
            if not first.done():
                first.set_result(None)
            if self._closed.is_set():  # while it was started
                self.life.process.kill()
            code = self.life.ended()
            if not self._closed.is_set():
                log.warning("the process that scores %s ended with %d; it is started again", self.folder, code)


class Life:
    """One child process, from its start until it is gone.

    Raises:
        OSError: no process can be started. ChildProcessError: it does not open the pipeline.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.socket, theirs = socket.socketpair()
        path = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
        command = [sys.executable, "-I", "-B", "-c", START, str(folder), digest, *path]
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
        with theirs:
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=STDERR, env=environment)
        self.answers = self.socket.makefile("rb")
        if not self.ask(b"", START_SECONDS):
            raise ChildProcessError(f"{folder / FILES['sklearn']}: the process that is to score it ended with {self.ended()} before it was ready.")

    def ask(self, question: bytes, seconds: float) -> bytes:
        """The next line from the child; empty when it died, or was silent for so long and is ended now."""
        grace = ENDING
        try:
            self.socket.settimeout(seconds)
            self.socket.sendall(question)
            answer = self.answers.readline()
        except TimeoutError:
            answer, grace = b"", 0.0
        except (OSError, ValueError):  # gone, or closed meanwhile by `ended`
            answer = b""
        if answer.endswith(b"\n"):
            return answer
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        self.process.kill()
        return b""

    def ended(self) -> int:
        """Wait for its end; returns its exit code, or the negative number of a signal."""
        code = self.process.wait()
        self.answers.close()
        self.socket.close()
        return code
