"""What runs in the child: it opens the pickle and scores the rows that the server sends. `child` starts it, and says how the two speak."""

import ctypes
import gc
import hashlib
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import orjson

from bentos.runtime.card import FILES, Card
from bentos.runtime.scoring import SklearnScores

DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl
FAILED = b'"failed"\n'  # the answer when the pipeline raised


def main() -> None:
    """The child: scores the rows of each line that comes on descriptor 0, until the server is gone."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # meant for the whole group, and the server may be scoring its last requests
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)  # hung in a row, it would not see the end of the socket
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")  # when memory runs out, rather the child than the server
    server = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    scores = _opened(Path(sys.argv[1]), sys.argv[2])
    gc.collect()
    gc.freeze()
    with suppress(ConnectionError), server.makefile("rwb") as lines:
        lines.write(b"0\n")
        lines.flush()
        for line in lines:
            lines.write(_answer(scores, line))
            lines.flush()


def _opened(folder: Path, digest: str) -> SklearnScores:
    """The pipeline, warm, if it is still the one that the server found at its own start."""
    card = Card.load(folder)
    with (folder / FILES["sklearn"]).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            sys.exit(f"{file.name} has changed since the server was started; it was not opened. Release it anew.")
        file.seek(0)
        scores = SklearnScores(file, card.contract)
    if card.golden:
        scores.of_rows([card.golden[0].row])  # imports what is imported late
    return scores


def _answer(scores: SklearnScores, line: bytes) -> bytes:
    try:
        rows = [dict(zip(scores.contract.features, values, strict=True)) for values in orjson.loads(line)]
        return orjson.dumps(scores.of_rows(rows).tolist(), option=orjson.OPT_APPEND_NEWLINE)
    except Exception as err:  # noqa: BLE001  # as in the server, a fault ends the request and not the process
        where = "".join(traceback.format_tb(err.__traceback__))
        print(f"the pipeline failed with {type(err).__name__}, whose message is left out since it may hold a value\n{where}", file=sys.stderr, flush=True)
        return FAILED
