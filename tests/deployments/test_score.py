"""`ratchet score-file`: the exit code says whether every row was scored."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from trained import ratchet, rides, train_all

from tasks.installation import Installation

Run = Callable[..., int]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return train_all(tmp_path_factory.mktemp("rides"))


@pytest.fixture
def run(here: Installation, monkeypatch: pytest.MonkeyPatch) -> Run:
    return ratchet(here, monkeypatch)


@pytest.fixture
def features(here: Installation) -> pd.DataFrame:
    return here.project.pipeline("rides_late").features(rides(40, seed=5))


def test_every_row_scored_is_exit_code_0_and_one_that_was_not_is_1(
    run: Run, features: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    features.to_csv(source, index=False)
    assert run("score-file", str(source), str(target), "--model", "rides_late") == 0
    assert "40 of 40 rows scored" in capsys.readouterr().out

    features.assign(km=features["km"].where(features.index > 1)).to_csv(source, index=False)
    assert run("score-file", str(source), str(target), "--model", "rides_late", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["refused"], said["problem"]) == (40, 2, "km: The field is missing.")
    assert pd.read_parquet(target)["score"].isna().sum() == 2


def test_raw_rows_are_scored_with_an_option(run: Run, features: pd.DataFrame, tmp_path: Path) -> None:
    rides(40, seed=5).to_csv(tmp_path / "raw.csv", index=False)
    features.to_csv(tmp_path / "in.csv", index=False)

    assert run("score-file", str(tmp_path / "raw.csv"), str(tmp_path / "raw_out.csv"), "--model", "rides_paid", "--raw") == 0
    assert run("score-file", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "--model", "rides_paid") == 0

    assert pd.read_csv(tmp_path / "raw_out.csv")["score"].equals(pd.read_csv(tmp_path / "out.csv")["score"])


def test_what_cannot_be_done_is_one_line_and_exit_code_2(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")

    assert run("score-file", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "--model", "rides_late") == 2
    said = capsys.readouterr().err
    assert said.startswith("ratchet: ")
    assert "has no column 'km'" in said
    assert said.count("\n") == 1
    assert run("score-file", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "--model", "rides_lat") == 2
    assert "Did you mean 'rides_late'?" in capsys.readouterr().err
    assert run("score-file", str(tmp_path / "in.csv"), str(tmp_path / "out.csv")) == 2
    assert "--model rides_grade or --model rides_late" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "in.csv"]
