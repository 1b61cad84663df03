"""Every error Ratchet raises on purpose. A class takes facts and words itself: what failed, for which thing, what was found, what to do.

RatchetError
├── SpecError             a folder's TOML, suite or Python file is wrong
│   └── UnknownNameError  a model, dataset, key or version that does not exist
├── SourceError           a raw batch cannot be read
├── LeakError             features() reads what is only known after the event
├── StoreError            bytes are missing from the store or are not what they were
├── LedgerError           the chain is broken, or an append was refused
│   ├── ChainError
│   └── AppendRefusedError
├── TrainingError         a snapshot cannot give a candidate
├── ReleaseError          preflight or rollout failed; the old release went on answering
└── PlatformError         the machine or a part of the platform is not as needed
    └── ApiBusyError      the Prefect API answers, but not now
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class RatchetError(Exception):
    """Base of the family: catch this where a person is told what happened."""


class SpecError(RatchetError):
    """A folder an author wrote cannot be used; `problems` holds one sentence each."""

    def __init__(self, path: Path | str, problems: Iterable[str]) -> None:
        self.path = str(path)
        self.problems = tuple(problems)
        super().__init__(f"{self.path}: " + "; ".join(self.problems))


class UnknownNameError(SpecError):
    """A name that was asked for does not exist; of what does, `known` is told unless it is empty."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: Path | str = "") -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = f" (known: {', '.join(known[:12])})" if known else ""
        super().__init__(where or kind, [f"there is no {kind} {name!r}{listed}.{hint}"])


class SourceError(RatchetError):
    """A raw batch cannot be read at all."""

    def __init__(self, dataset: str, batch: str, found: str) -> None:
        super().__init__(f"Batch {batch!r} of dataset {dataset!r} cannot be read: {found}. Mend or replace the file, then ingest it again.")


class LeakError(RatchetError):
    """A feature uses what is not known when a request is made."""

    def __init__(self, model: str, column: str, dataset: str) -> None:
        super().__init__(
            f"features() of model {model!r} reads {column!r}, which is its label or listed under `outcome` in expectations/{dataset}/dataset.toml: "
            "it is known only after the event, so a request could not carry it. Remove it from pipeline.py."
        )


class StoreError(RatchetError):
    """Bytes named by a digest are missing, or are not the bytes that were put there."""

    def __init__(self, ref: str, found: str) -> None:
        super().__init__(f"Store object {ref}: {found}. Restore it from a backup; nothing was loaded from it.")


class LedgerError(RatchetError):
    """The ledger refused or failed."""


class ChainError(LedgerError):
    """The chain does not hold at a row."""

    def __init__(self, seq: int, found: str) -> None:
        self.seq = seq
        super().__init__(f"Ledger row {seq}: {found}. Restore the ledger from a backup; do not append to it.")


class AppendRefusedError(LedgerError):
    """What a caller wanted to append is no longer allowed: somebody else was there first."""

    def __init__(self, what: str, found: str) -> None:
        super().__init__(f"{what} was not recorded: {found}.")


class TrainingError(RatchetError):
    """A snapshot cannot give a candidate."""

    def __init__(self, model: str, found: str, remedy: str) -> None:
        super().__init__(f"Training {model!r} stopped: {found}. {remedy}")


class ReleaseError(RatchetError):
    """A version could not be taken live; what was live before goes on answering."""

    def __init__(self, model: str, version: str, found: str) -> None:
        super().__init__(f"Version {version!r} of {model!r} did not go live: {found}. The release before it goes on answering.")


class PlatformError(RatchetError):
    """The machine or a part of the platform is not as needed."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}. {remedy}")


class ApiBusyError(PlatformError):
    """The Prefect API answers that it cannot now: its database is locked, or it is starting."""

    def __init__(self, api: str, status: int) -> None:
        super().__init__(f"The Prefect API at {api} is too busy to answer (HTTP {status})", "Try again in a moment.")
