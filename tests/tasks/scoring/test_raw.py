"""Raw rows go through features() as in training: a chunk at a time, in types that do not depend on where a chunk ends."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from trained import rides

from tasks.data.event_time import timed
from tasks.errors import SpecError
from tasks.installation import Installation
from tasks.scoring import files
from tasks.scoring.batch import RowsOf, champion_scorer, score_file
from tasks.scoring.raw import raw_rows, types_of
from tasks.scoring.rows import feature_rows

Write = Callable[[pd.DataFrame, str], str]


@pytest.fixture
def raw_of(here: Installation) -> RowsOf:
    spec = here.project.model("rides_late")
    return raw_rows(here.project.dataset("rides"), spec, here.project.pipeline("rides_late").features, timed)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("outcome", ["with", "without"])
def test_raw_rows_get_the_scores_of_their_features(
    here: Installation, file: Write, raw_of: RowsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, outcome: str
) -> None:
    monkeypatch.setattr(files, "CHUNK", 13)
    raw = rides(60, seed=5)
    features = here.project.pipeline("rides_late").features(raw)
    given = raw if outcome == "with" else raw.drop(columns=["late", "paid", "grade"])
    scorer = champion_scorer(here.ledger.read(), "rides_late", here.store)

    scored = score_file(scorer, file(given, suffix), str(tmp_path / "raw.parquet"), raw_of)
    plain = score_file(scorer, file(features, ".parquet"), str(tmp_path / "features.parquet"), feature_rows)

    assert (scored.rows, scored.refused, scored.flags) == (60, 0, plain.flags)
    found = pd.read_parquet(scored.target)
    assert found["score"].tolist() == pd.read_parquet(plain.target)["score"].tolist()
    assert list(found)[: len(given.columns)] == list(given), "the raw columns are what is kept"


def test_the_times_of_raw_rows_are_history(here: Installation, file: Write, raw_of: RowsOf, tmp_path: Path) -> None:
    scorer = champion_scorer(here.ledger.read(), "rides_late", here.store)
    raw = rides(20).assign(at=pd.date_range("1912-04-14", periods=20, freq="h"), entity=range(20))

    assert score_file(scorer, file(raw, ".csv"), str(tmp_path / "out.csv"), raw_of).refused == 0


def test_rows_of_another_dataset_are_told_by_the_name_of_the_file_that_cannot_use_them(here: Installation, file: Write, raw_of: RowsOf, tmp_path: Path) -> None:
    scorer = champion_scorer(here.ledger.read(), "rides_late", here.store)

    with pytest.raises(SpecError, match=r"pipeline.py.*KeyError.*tariff"):
        score_file(scorer, file(rides(20).drop(columns="tariff"), ".csv"), str(tmp_path / "out.csv"), raw_of)

    assert not (tmp_path / "out.csv").exists()


def test_a_column_has_one_type_in_all_chunks(file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 2)
    frame = pd.DataFrame(
        {
            "whole": [1, 2, 3, 4],
            "with_null": pd.array([1, 2, 3, None], dtype="Int64"),
            "half": ["1", "2", "3.5", "4"],
            "code": ["2139", "17", "02139", "5"],
            "truth": [True, False, True, True],
            "late_text": ["1", "2", "x", "y"],
            "nothing": pd.array([None] * 4, dtype="string"),
        }
    )
    expected = {"whole": pa.int64(), "with_null": pa.float64(), "code": pa.string(), "truth": pa.bool_(), "late_text": pa.string()}

    as_text, typed = types_of(file(frame, ".csv")), types_of(file(frame, ".parquet"))

    assert {name: as_text[name] for name in expected} == {name: typed[name] for name in expected} == expected
    assert (as_text["half"], as_text["nothing"]) == (pa.float64(), pa.null())
