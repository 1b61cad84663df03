"""Where a server runs, told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

CENTURY = 3.2e9  # seconds; more would lead beyond the dates that there are


@dataclass(frozen=True)
class Place:
    """Where a server runs: what it is told by its environment, read when the service is made."""

    release: str = ""
    log: Path | None = None
    log_bytes: int = 0
    fsync: bool = False
    max_skew: timedelta = timedelta(seconds=300)
    predict_key: str = field(default="", repr=False)
    feedback_key: str = field(default="", repr=False)
    hash_key: str = field(default="", repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read `RATCHET_RELEASE`, `_LOG`, `_LOG_BYTES`, `_FSYNC`, `_MAX_SKEW_SECONDS`, `_PREDICT_KEY`, `_FEEDBACK_KEY`, `_HASH_KEY`.

        Without `RATCHET_LOG` no log is kept; without `RATCHET_LOG_BYTES` each of its folders may grow without end; without `RATCHET_HASH_KEY`
        no entity is logged, and a model with hashed features does not start. An empty variable is none.

        Raises:
            ValueError: one that is a number is none.
        """
        log = environ.get("RATCHET_LOG", "")
        return cls(
            release=environ.get("RATCHET_RELEASE", ""),
            log=Path(log) if log else None,
            log_bytes=int(_number(environ, "RATCHET_LOG_BYTES", "bytes", 0)),
            fsync=environ.get("RATCHET_FSYNC", "").lower() in {"1", "true", "yes", "on"},
            max_skew=timedelta(seconds=_number(environ, "RATCHET_MAX_SKEW_SECONDS", "seconds", 300, CENTURY)),
            predict_key=environ.get("RATCHET_PREDICT_KEY", ""),
            feedback_key=environ.get("RATCHET_FEEDBACK_KEY", ""),
            hash_key=environ.get("RATCHET_HASH_KEY", ""),
        )


def check_place(place: Place) -> None:
    """See that the log can be written.

    Raises:
        OSError: it cannot.
    """
    if place.log is None:
        return
    try:
        place.log.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place.log):
            pass
    except OSError as err:
        raise OSError(f"RATCHET_LOG={place.log} cannot be written: {err.strerror}. Make it a folder that this user may write, or leave it out.") from None


def _number(environ: Mapping[str, str], name: str, unit: str, default: float, most: float = 1e13) -> float:
    text = environ.get(name, "").strip()
    try:
        found = float(text) if text else default
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        raise ValueError(f"{name}={text} is no number of {unit}: give one from 0 to {most:g}, or leave it out for {default:g}.")
    return found
