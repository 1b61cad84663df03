"""Which version goes live next, and whether it may. Pure; the rollout itself is the target's."""

from dataclasses import dataclass

from bentos.runtime.release import Release
from tasks.errors import ReleaseError
from tasks.ledger.chain import History
from tasks.ledger.questions import live, previous, rows
from tasks.ledger.questions import version as version_named
from tasks.ledger.rows import ReleaseRow, VersionRow

PREVIOUS = "previous"


@dataclass(frozen=True)
class Plan:
    """A release that may be started, and what the ledger says of it."""

    object: Release
    previous: str
    decision: str
    actor: str
    reason: str


def choose(history: History, model: str, wanted: str) -> VersionRow:
    """The version meant by `wanted`: a name, 'previous', or empty for the newest one the gate accepted.

    Raises:
        ReleaseError: there is none, the gate refused it, or it was proven better than another champion than today's.
        UnknownNameError: no version has that name.
    """
    if wanted == PREVIOUS:
        name = previous(history, model)
        if not name:
            raise ReleaseError(model, PREVIOUS, "no other version has been live before the present one")
        return version_named(history, model, name)
    if wanted:
        return _proven(history, version_named(history, model, wanted))
    accepted = [v for v in rows(history, VersionRow, model=model) if v.gate.accepted]
    if not accepted:
        raise ReleaseError(model, "newest", "the gate has accepted no version yet; train one first")
    return _proven(history, accepted[-1])


def _proven(history: History, version: VersionRow) -> VersionRow:
    """A version that has been live may always come back; a new one must have been proven better than today's champion."""
    if not version.gate.accepted:
        raise ReleaseError(version.model, version.version, "its gate refused it: " + "; ".join(version.gate.reasons))
    today = live(history, version.model)
    been_live = {row.version for row in rows(history, ReleaseRow, model=version.model, step="live")}
    if today and version.version not in been_live and version.gate.champion != today.version:
        found = f"it was held against {version.gate.champion or 'no champion'}, but {today.version} is live now; train again so that it is held against that"
        raise ReleaseError(version.model, version.version, found)
    return version


def release_id(history: History, model: str) -> str:
    """Id of the next release: the model and a running number over everything that was ever started."""
    return f"{model}-r{len(rows(history, ReleaseRow, model=model, step='started')) + 1}"
