"""The score flow as Prefect runs it."""

from pathlib import Path

import pandas as pd
import pytest
from prefect.artifacts import Artifact
from trained import rides, train_all

from flows.score import score
from tasks.installation import Installation

pytestmark = pytest.mark.usefixtures("prefect_client")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return train_all(tmp_path_factory.mktemp("rides"))


@pytest.fixture
def here(trained: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("RATCHET_HOME", str(trained.settings.home))
    monkeypatch.setenv("RATCHET_PROJECT", str(trained.settings.project))
    return trained


def test_a_file_is_scored_and_its_counts_are_shown(here: Installation, tmp_path: Path) -> None:
    raw = rides(50, seed=5)
    features = here.project.pipeline("rides_late").features(raw)
    features.loc[3, "km"] = None
    features.to_csv(tmp_path / "in.csv", index=False)
    raw.to_parquet(tmp_path / "raw.parquet", index=False)

    some = score("rides_late", str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"), return_state=True)
    page = Artifact.get("rides-late-scores")
    every = score("rides_late", str(tmp_path / "raw.parquet"), str(tmp_path / "raw_out.parquet"), raw=True, return_state=True)

    assert some.is_completed()
    assert "49 of 50 rows scored" in str(some.message)
    assert page is not None
    assert "| 50 | 49 | 1 |" in str(page.data)
    assert "50 of 50 rows scored" in str(every.message)
    found, other = pd.read_parquet(tmp_path / "out.parquet"), pd.read_parquet(tmp_path / "raw_out.parquet")
    assert found["score"].drop(3).tolist() == other["score"].drop(3).tolist()


def test_times_are_held_against_the_skew_of_the_installation(here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = pd.Timestamp.now("UTC") + pd.Timedelta(hours=1)
    here.project.pipeline("rides_late").features(rides(5)).assign(event_time=ahead.isoformat()).to_csv(tmp_path / "in.csv", index=False)

    late = score("rides_late", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), return_state=True)
    monkeypatch.setenv("RATCHET_MAX_SKEW_SECONDS", "4000")
    allowed = score("rides_late", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), return_state=True)

    assert "the server's clock" in str(late.message)
    assert "5 of 5 rows scored" in str(allowed.message)


def test_a_file_of_which_nothing_can_be_scored_fails_the_run(here: Installation, tmp_path: Path) -> None:
    here.project.pipeline("rides_late").features(rides(5)).assign(km=None).to_csv(tmp_path / "in.csv", index=False)

    none = score("rides_late", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), return_state=True)
    missing = score("rides_late", str(tmp_path / "no.csv"), str(tmp_path / "out2.csv"), return_state=True)

    assert none.is_failed()
    assert "0 of 5 rows scored" in str(none.message)
    assert missing.is_failed()
    assert not (tmp_path / "out2.csv").exists()
