"""What may go live, and what is refused with the reason."""

from pathlib import Path

import pytest
from factories import version

from tasks.errors import ReleaseError, UnknownNameError
from tasks.ledger.chain import History, Ledger
from tasks.ledger.rows import ReleaseRow, VersionRow
from tasks.release.plan import choose, release_id


def recorded(tmp_path: Path, *rows: VersionRow | ReleaseRow) -> History:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path)
    ledger.append(*rows)
    return ledger.read()


def gated(name: str, against: str = "", accepted: bool = True) -> VersionRow:
    row = version(f"late-{name}", accepted=accepted, name=name)
    return row.model_copy(update={"gate": row.gate.model_copy(update={"champion": against})})


def went_live(name: str, before: str = "") -> ReleaseRow:
    return ReleaseRow(model="late", release=f"late-{name}", version=name, step="live", reason="better", previous=before)


def test_the_newest_accepted_version_is_chosen(tmp_path: Path) -> None:
    history = recorded(tmp_path, gated("v1"), went_live("v1"), gated("v2", against="v1"), gated("v3", against="v1", accepted=False))

    assert choose(history, "late", "").version == "v2"


def test_a_refused_version_never_goes_live_even_by_name(tmp_path: Path) -> None:
    history = recorded(tmp_path, gated("v1", accepted=False))

    with pytest.raises(ReleaseError, match="its gate refused it"):
        choose(history, "late", "v1")


def test_a_version_proven_against_another_champion_is_refused(tmp_path: Path) -> None:
    history = recorded(tmp_path, gated("v1"), went_live("v1"), gated("v2", "v1"), gated("v3", "v1"), went_live("v3", "v1"))

    with pytest.raises(ReleaseError, match="held against v1, but v3 is live now"):
        choose(history, "late", "v2")


def test_previous_means_what_was_live_before_and_comes_back_without_another_proof(tmp_path: Path) -> None:
    history = recorded(tmp_path, gated("v1"), went_live("v1"), gated("v2", "v1"), went_live("v2", "v1"))

    assert choose(history, "late", "previous").version == "v1"
    assert choose(history, "late", "v1").version == "v1"


def test_a_champion_that_was_made_again_and_refused_for_want_of_a_gain_can_still_come_back(tmp_path: Path) -> None:
    made = gated("v1").model_copy(update={"bento": "sha256:b.tar"})
    again = gated("v1", "v1", accepted=False).model_copy(update={"decision": "late-again"})
    history = recorded(tmp_path, made, went_live("v1"), again, gated("v2", "v1"), went_live("v2", "v1"))

    assert choose(history, "late", "previous").bento == "sha256:b.tar"
    assert choose(history, "late", "v1").bento == "sha256:b.tar"


def test_there_is_nothing_to_roll_back_to_at_first(tmp_path: Path) -> None:
    history = recorded(tmp_path, gated("v1"), went_live("v1"))

    with pytest.raises(ReleaseError, match="no other version has been live"):
        choose(history, "late", "previous")


def test_nothing_accepted_and_unknown_names_are_told_apart(tmp_path: Path) -> None:
    history = recorded(tmp_path, gated("v1", accepted=False))

    with pytest.raises(ReleaseError, match="accepted no version yet"):
        choose(history, "late", "")
    with pytest.raises(UnknownNameError, match="Did you mean 'v1'"):
        choose(history, "late", "v11")


def test_release_ids_count_everything_that_was_started(tmp_path: Path) -> None:
    started = went_live("v1").model_copy(update={"step": "started"})

    assert release_id(recorded(tmp_path, started, started.model_copy(update={"step": "undone"})), "late") == "late-r2"
