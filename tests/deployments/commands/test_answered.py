"""Where an answered row is looked for, and what is said of one that may have been deleted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bentos.runtime.lines import PredictionLine
from deployments.commands.answered import find, too_old, unknown
from tasks.settings import Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MODEL = """
dataset = "flights"
task = "regression"
[label]
column = "delay"
[gate]
metric = "mae"
[features.distance]
type = "number"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project whose models keep their logs for 100 and for 400 days."""
    for name, more in (("early", "[log]\nkeep_days = 100\n"), ("late", "")):
        (tmp_path / "bentos" / name).mkdir(parents=True)
        (tmp_path / "bentos" / name / "model.toml").write_text(MODEL + more)
    (tmp_path / "expectations" / "flights").mkdir(parents=True)
    (tmp_path / "expectations" / "flights" / "dataset.toml").write_text("")
    return Settings(project=tmp_path, home=tmp_path / "home")


def made(days: float) -> str:
    start = f"{int((NOW - timedelta(days=days)).timestamp() * 1000):012x}"
    return f"{start[:8]}-{start[8:]}-7abc-8def-0123456789ab"


def test_a_row_is_found_by_its_own_id_and_not_by_a_feature_named_so(tmp_path: Path) -> None:
    about = {"model": "late", "version": "1", "release": "r1", "event_time": "2026-11-01T00:00:00+00:00", "wall_time": "2026-11-01T00:00:00+00:00"}
    lines = [PredictionLine(id=own, row={"id": other}, score=0.5, prediction=True, **about) for own, other in (("a", "b"), ("c", "b"), ("b", "a"))]
    (tmp_path / "late" / "predictions").mkdir(parents=True)
    (tmp_path / "late" / "predictions" / "1.jsonl").write_text("\n".join(line.model_dump_json() for line in lines))

    assert [find(tmp_path, line.id) for line in lines] == lines
    assert find(tmp_path, "d") is None
    assert find(tmp_path, "A") == lines[0], "a uuid may be written in large letters"


def test_an_id_that_every_log_would_still_hold_needs_no_excuse(settings: Settings) -> None:
    assert too_old(settings, made(99.9), NOW) == ""


def test_an_old_id_is_told_with_its_date_and_the_logs_that_would_have_deleted_it(settings: Settings) -> None:
    assert too_old(settings, made(101), NOW) == "lines of early are kept 100 days, and this id was made on 2026-08-15"
    assert too_old(settings, made(401), NOW).startswith("lines of early are kept 100 days, lines of late are kept 400 days, and")
    assert too_old(settings, made(101).upper(), NOW) == too_old(settings, made(101), NOW)
    assert "there is no answered row" in str(unknown("answered row", made(101), "log", settings, NOW))
    assert "known" not in str(unknown("answered row", made(101), "log", settings, NOW))
    assert "this id was made on 2026-08-15" in str(unknown("answered row", made(101), "log", settings, NOW))


@pytest.mark.parametrize("name", ["nonsense", "late-1", "20130501-aaaaaaaa", made(900).replace("-7abc", "-4abc")])
def test_an_id_that_says_nothing_of_its_age_is_only_unknown(settings: Settings, name: str) -> None:
    assert too_old(settings, name, NOW) == ""
    assert str(unknown("answered row", name, "log", settings, NOW)).startswith("log: there is no")
