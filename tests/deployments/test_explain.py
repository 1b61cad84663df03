"""`ratchet explain ID`: from the log to the steps, and an exit code that says whether the replay is the same."""

import json
from collections.abc import Callable

import pytest
from trained import endpoint, ratchet, train_all

from tasks.installation import Installation

Run = Callable[..., int]
ROW = {"km": 2.5, "age": None, "city": "b", "tariff": "night", "shared": True, "hour": 13}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return train_all(tmp_path_factory.mktemp("rides"))


@pytest.fixture(scope="module")
def ids(here: Installation) -> dict[str, str]:
    """Id of an answered row of each model, in the log of the installation."""
    found = {}
    for model in ("rides_late", "rides_paid"):
        asked = endpoint(here, model, here.settings.logs)
        found[model] = json.loads(asked.predict(json.dumps({"rows": [ROW]}).encode()))["answers"][0]["id"]
        asked.close()
    return found


@pytest.fixture
def run(here: Installation, monkeypatch: pytest.MonkeyPatch) -> Run:
    return ratchet(here, monkeypatch)


def test_an_answer_is_told_from_its_row_to_the_verdict(run: Run, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", ids["rides_paid"]) == 0

    said = capsys.readouterr().out
    for part in (
        "row       km=2.5, age=None, city=b",
        "encode/numbers/fill (SimpleImputer)",
        "model (Ridge): predict=",
        "verdict   today's replay equals what was answered",
    ):
        assert part in said
    assert "coefficient x value" in said
    assert "intercept" in said


def test_as_json_it_holds_every_number(run: Run, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", ids["rides_late"], "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["id"], said["equal"], said["contributions"]["method"]) == (ids["rides_late"], True, "replacement")
    assert [step["name"] for step in said["steps"]] == ["encode", "model"]
    assert {one["name"] for one in said["contributions"]["each"]} == set(ROW)


def test_a_replay_that_is_another_is_exit_code_1(run: Run, here: Installation, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    [path] = (here.settings.logs / "rides_late" / "predictions").glob("*.jsonl")
    kept = path.read_text()
    line = json.loads(kept)
    path.write_text(kept.replace(ids["rides_late"], "changed").replace(f'"score":{line["score"]}', '"score":0.123'))

    assert run("explain", "changed") == 1

    said = capsys.readouterr().out
    assert "does NOT equal what was answered" in said
    assert " instead of " in said
    path.write_text(kept)


def test_an_id_that_no_log_holds_is_exit_code_2(run: Run, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "nonsense") == 2
    assert "there is no answered row 'nonsense'" in capsys.readouterr().err
