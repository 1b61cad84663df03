"""A revision survives the way into a Job's environment and back."""

from pathlib import Path

import pytest

from tasks.ledger.provenance import as_text, commit_of
from tasks.ledger.rows import Commit


@pytest.mark.parametrize("clean", [True, False])
def test_what_a_job_is_told_is_what_the_checkout_was(clean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Commit(sha="0123abcd", time="2026-01-01T08:00:00+00:00", author="Ann | Co", clean=clean)
    monkeypatch.setenv("RATCHET_COMMIT", as_text(commit))
    commit_of.cache_clear()

    assert commit_of(Path("/nowhere")) == commit
    commit_of.cache_clear()


def test_outside_a_checkout_and_untold_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATCHET_COMMIT", raising=False)

    assert commit_of(tmp_path) is None
