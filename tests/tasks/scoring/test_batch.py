"""A scored file holds what the endpoint would answer, row for row; a row that it would refuse has no score, and a file is whole or not there."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from trained import MODELS, endpoint

from bentos.runtime.errors import Refused
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.scoring.batch import Scored, champion_scorer, score_file
from tasks.scoring.files import FileError
from tasks.scoring.rows import feature_rows

Write = Callable[[pd.DataFrame, str], str]
Read = Callable[[str], pd.DataFrame]


def score(here: Installation, model: str, source: str, target: Path | str) -> Scored:
    return score_file(champion_scorer(here.ledger.read(), model, here.store), source, str(target), feature_rows)


def request_of(row: pd.Series, model: str, here: Installation) -> dict[str, Any]:
    names = here.project.model(model).features
    return {name: None if pd.isna(row[name]) else row[name] for name in names}


def answers(here: Installation, model: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the endpoint answers to one request with these rows."""
    body = json.dumps({"rows": [request_of(row, model, here) for _, row in rows.iterrows()]}, default=lambda value: value.item())
    found: list[dict[str, Any]] = json.loads(endpoint(here, model).predict(body.encode()))["answers"]
    return found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("given", "wanted"), [(".parquet", ".parquet"), (".csv", ".csv"), (".csv", ".parquet"), (".parquet", ".csv")])
def test_a_file_gets_the_numbers_that_the_endpoint_gives(
    here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path, model: str, given: str, wanted: str
) -> None:
    expected = answers(here, model, rows)

    scored = score(here, model, file(rows, given), tmp_path / f"out{wanted}")

    found = read(scored.target)
    assert (scored.rows, scored.refused) == (60, 0)
    assert found["ride"].tolist() == rows["ride"].tolist(), "every row, every column, in order"
    assert found["prediction"].tolist() == [answer["prediction"] for answer in expected]
    classes = here.project.model(model).classes
    scores = found[[f"score_{name}" for name in classes] if classes else ["score"]].to_numpy()
    np.testing.assert_array_equal(scores, np.array([np.atleast_1d(answer["score"]) for answer in expected]))
    assert found["flags"].fillna("").tolist() == [";".join(answer["flags"]) for answer in expected]
    assert found["flags"][3] == "unseen:city"
    assert set(found["version"]) == {scored.version}
    assert found["error"].isna().all()


@pytest.mark.parametrize("model", MODELS)
def test_rows_asked_one_by_one_get_the_same_numbers(here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path, model: str) -> None:
    expected = [answers(here, model, rows.iloc[[place]])[0] for place in range(20)]

    found = read(score(here, model, file(rows, ".parquet"), tmp_path / "out.parquet").target).head(20)

    assert found["prediction"].tolist() == [answer["prediction"] for answer in expected]
    classes = here.project.model(model).classes
    scores = found[[f"score_{name}" for name in classes] if classes else ["score"]].to_numpy()
    np.testing.assert_array_equal(scores, np.array([np.atleast_1d(answer["score"]) for answer in expected]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("column", "value"), [("km", np.inf), ("km", 1e31), ("hour", 3.5), ("tariff", "noon"), ("city", "x" * 1_001), ("km", None), ("city", None), ("city", "")]
)
def test_a_row_that_the_endpoint_refuses_is_not_scored_and_says_why_in_its_words(
    here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path, suffix: str, column: str, value: Any
) -> None:
    rows[column] = rows[column].astype(object if column in {"city", "tariff"} else "float64")
    rows.loc[7, column] = value
    request = request_of(rows.loc[7], "rides_late", here)
    sent = {
        name: known for name, known in request.items() if known is not None and (known != "" or suffix == ".parquet")
    }  # an empty field of a CSV says nothing
    with pytest.raises(Refused) as refused:
        endpoint(here, "rides_late").predict(json.dumps({"rows": [sent]}, default=lambda value: value.item()).replace("Infinity", "1e999").encode())

    scored = score(here, "rides_late", file(rows, suffix), tmp_path / "out.parquet")

    found = read(scored.target)
    problem = "; ".join(f"{field.path.removeprefix('rows.0.')}: {field.message}" for field in refused.value.fields)
    assert (scored.rows, scored.refused, scored.problem) == (60, 1, problem)
    assert problem.startswith(f"{column}: ")
    assert "59 of 60 rows scored" in scored.sentence
    assert found.loc[7, "error"] == problem
    assert found.loc[7, ["prediction", "score", "flags", "version"]].isna().all()
    assert found["score"].notna().sum() == found["error"].isna().sum() == 59


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("column", "value"),
    [("event_time", "yesterday"), ("event_time", "20130101"), ("event_time", "1969-12-31"), ("event_time", "2150-01-01"), ("entity", "x" * 1_001)],
)
def test_a_time_or_an_entity_that_the_endpoint_refuses_is_refused_in_its_words(
    here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path, suffix: str, column: str, value: str
) -> None:
    request = request_of(rows.loc[7], "rides_late", here) | {column: value}
    with pytest.raises(Refused) as refused:
        endpoint(here, "rides_late").predict(json.dumps({"rows": [request]}, default=lambda value: value.item()).encode())
    given = rows.assign(event_time="2024-01-01T08:30:00+01:00", entity="somebody")
    given.loc[[5, 6], ["event_time", "entity"]] = None
    given.loc[7, column] = value
    given.loc[8, "km"] = np.inf

    scored = score(here, "rides_late", file(given, suffix), tmp_path / "out.parquet")

    found = read(scored.target)
    assert [scored.problem] == [f"{field.path.removeprefix('rows.0.')}: {field.message}" for field in refused.value.fields]
    assert found.loc[7, "error"] == scored.problem
    assert found.loc[7, ["prediction", "score", "flags", "version"]].isna().all()
    assert found["error"].notna().to_numpy().nonzero()[0].tolist() == [7, 8]
    assert found["entity"].tolist() == given["entity"].tolist(), "what was given is what is kept"


def test_the_times_of_a_parquet_file_are_read_as_such(here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path) -> None:
    times = pd.Series(pd.Timestamp("2024-01-01"), rows.index)
    times[1], times[2] = None, pd.Timestamp("2150-01-01")
    days = times.dt.date.where(times.notna(), None)

    for event_time in (times, times.dt.tz_localize("Europe/Paris"), times.astype("datetime64[ms]"), days):
        found = read(score(here, "rides_late", file(rows.assign(event_time=event_time), ".parquet"), tmp_path / "out.parquet").target)

        assert found["error"].dropna().to_dict() == {2: "event_time: The time is too far ahead of the server's clock."}


def test_a_number_is_no_time_and_no_entity(here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path) -> None:
    found = read(score(here, "rides_late", file(rows.assign(event_time=1_704_096_000, entity=5), ".parquet"), tmp_path / "out.parquet").target)

    assert set(found["error"]) == {"event_time: the time must be ISO 8601, as 2013-01-01T08:30:00Z; entity: Input should be a valid string"}


def test_a_time_may_lie_as_far_ahead_as_the_installation_says(here: Installation, rows: pd.DataFrame, file: Write, tmp_path: Path) -> None:
    source = file(rows.assign(event_time=(datetime.now(UTC) + timedelta(hours=1)).isoformat()), ".csv")
    scorer = champion_scorer(here.ledger.read(), "rides_late", here.store)

    refused = [score_file(scorer, source, str(tmp_path / "out.csv"), feature_rows, timedelta(hours=ahead)).refused for ahead in (0.9, 1.1)]

    assert refused == [60, 0]


def test_text_that_is_no_number_or_truth_is_refused(here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path) -> None:
    odd = rows.astype(object)
    odd.loc[0, "km"], odd.loc[1, "km"], odd.loc[2, "shared"], odd.loc[3, "shared"] = "far", "1_000", "perhaps", "TRUE"

    scored = score(here, "rides_late", file(odd, ".csv"), tmp_path / "out.csv")

    assert read(scored.target)["error"].notna().tolist() == [True, True, True, *[False] * 57]


def test_no_value_of_a_row_is_in_what_is_said_of_it(here: Installation, rows: pd.DataFrame, file: Write, tmp_path: Path) -> None:
    scored = score(here, "rides_late", file(rows.assign(km="secret"), ".csv"), tmp_path / "out.csv")

    assert scored.refused == 60
    assert "secret" not in scored.sentence


def test_a_file_without_rows_gives_one_without_rows(here: Installation, rows: pd.DataFrame, file: Write, read: Read, tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        scored = score(here, "rides_late", file(rows.head(0), suffix), tmp_path / f"out{suffix}")

        assert scored.rows == 0
        assert list(read(scored.target)) == [*rows, "prediction", "score", "flags", "version", "error"]


BROKEN = {
    "no file": (None, "cannot be opened"),
    "nothing": (b"", "is empty"),
    "an empty first line": (b"\n\n", "is empty"),
    "garbage": (bytes(range(256)) * 40, "is neither Parquet nor a CSV in UTF-8"),
    "the beginning of a Parquet file": (b"PAR1" + bytes(500), "is no Parquet file that can be read"),
    "another table": (b"a,b\n1,2\n", "has no column 'km', 'age', 'city', 'tariff', 'shared' or 'hour', which the model needs; add what is missing"),
    "a misspelling": (b"km,age,city,tarif,shared,hour\n1,2,a,day,,3\n", "has no column 'tariff' (meant by 'tarif'?), which the model needs"),
    "a column twice": (b"km,km\n1,2\n", "names a column more than once: 'km'"),
    "a ragged row": (b"km,age,city,tariff,shared,hour\n1,2,a,day,,3\n1,2\n", "is ragged: its header has 6 fields"),
    "an open quote": (b'km,age,city,tariff,shared,hour\n1,2,"a,day,,3\n1,2,a,day,,3\n', "cannot be read beyond line"),
    "a byte that is no text": (b"km,age,city,tariff,shared,hour\n" + b"1,2,a,day,,3\n" * 30_000 + b"1,2,\xff,day,,3\n", "cannot be read beyond line"),
    "scores already": (b"km,age,city,tariff,shared,hour,score\n1,2,a,day,,3,0.5\n", "columns that the scores would be written to already: score"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_cannot_be_read_leaves_the_target_as_it_was(here: Installation, tmp_path: Path, what: str) -> None:
    content, problem = BROKEN[what]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    target.write_text("yesterday's")
    if content is not None:
        source.write_bytes(content)

    with pytest.raises(FileError, match="Nothing was written") as caught:
        score(here, "rides_late", str(source), target)

    assert problem in str(caught.value)
    assert target.read_text() == "yesterday's"
    assert list(tmp_path.glob("*.part")) == []


def test_a_parquet_file_that_ends_early_leaves_nothing(here: Installation, rows: pd.DataFrame, file: Write, tmp_path: Path) -> None:
    path = Path(file(pd.concat([rows] * 1_000), ".parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2_000] = bytes(2_000)
    path.write_bytes(data)

    with pytest.raises(FileError, match="cannot be read to its end"):
        score(here, "rides_late", str(path), tmp_path / "out.parquet")

    assert [each.name for each in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize(
    ("target", "problem"), [("out.xlsx", "neither .csv nor .parquet"), ("no/folder/out.csv", "cannot be written"), ("in.csv", "is the file that is read")]
)
def test_a_target_that_cannot_be_is_refused(here: Installation, rows: pd.DataFrame, file: Write, tmp_path: Path, target: str, problem: str) -> None:
    source = file(rows, ".csv")

    with pytest.raises(FileError, match=problem):
        score(here, "rides_late", source, tmp_path / target)


def test_any_fsspec_path_and_any_usual_csv_will_do(here: Installation, rows: pd.DataFrame, tmp_path: Path, read: Read) -> None:
    rows.to_csv(tmp_path / "in.csv.gz", index=False, sep=";", encoding="utf-8-sig")

    score(here, "rides_late", f"file://{tmp_path}/in.csv.gz", f"file://{tmp_path}/out.csv")

    assert read(str(tmp_path / "out.csv"))["ride"].tolist() == rows["ride"].tolist()


def test_without_a_champion_nothing_is_scored(here: Installation) -> None:
    with pytest.raises(PlatformError, match="No version of 'rides_new' is live"):
        champion_scorer(here.ledger.read(), "rides_new", here.store)


PEAK = """
import resource, sys
from pathlib import Path
from tasks.scoring.batch import score_file
from tasks.scoring.rows import feature_rows
from bentos.runtime.scoring import Scorer
print(score_file(Scorer.load(Path(sys.argv[1])), sys.argv[2], sys.argv[3], feature_rows).rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_twenty_times_as_long_takes_no_more_memory(here: Installation, rows: pd.DataFrame, file: Write, tmp_path: Path, suffix: str) -> None:
    """Held whole, its rows would take some 200 MB more."""
    from tasks.ledger.questions import champion
    from tasks.store import Ref

    version = champion(here.ledger.read(), "rides_late")
    assert version is not None
    artefact = here.store.get_tree(Ref.parse(version.artefact), tmp_path / "artefact")

    def peak(count: int) -> int:
        source = file(pd.concat([rows] * (count // 60), ignore_index=True), suffix)
        command = [sys.executable, "-c", PEAK, str(artefact), source, str(tmp_path / f"out{suffix}")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(said[0]) == count
        return int(said[1])

    assert peak(240_000) - peak(12_000) < 50
