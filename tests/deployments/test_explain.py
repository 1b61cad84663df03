"""`ratchet explain ID`: from the log to the steps, and an exit code that says whether the replay is the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from trained import endpoint, ratchet, train_all

from bentos.runtime.card import Card
from bentos.runtime.contract import Feature
from bentos.runtime.lines import hash_of
from tasks.hash_key import hash_key
from tasks.installation import Installation
from tasks.ledger.questions import champion
from tasks.store import Ref

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


@pytest.fixture
def withheld(here: Installation, ids: dict[str, str], tmp_path: Path) -> str:
    """Id of a row of rides_paid as a version that hashes `city` and leaves `km` out would have logged it."""
    version = champion(here.ledger.read(), "rides_paid")
    assert version is not None
    folder = here.store.get_tree(Ref.parse(version.artefact), tmp_path / "artefact")
    card = Card.load(folder)
    features = card.contract.features | {"city": Feature(type="category", log="hash"), "km": Feature(type="number", log="omit")}
    (folder / "card.json").chmod(0o644)
    card.model_copy(update={"contract": card.contract.model_copy(update={"features": features})}).save(folder)
    name = f"withheld-{tmp_path.name}"
    here.ledger.append(version.model_copy(update={"decision": name, "version": name, "artefact": str(here.store.put_tree(folder))}))
    [path] = (here.settings.logs / "rides_paid" / "predictions").glob("*.jsonl")
    line = json.loads(path.read_text().splitlines()[0])
    row = {name: value for name, value in line["row"].items() if name != "km"} | {"city": hash_of("b", hash_key(here.settings).encode())}
    with path.open("a") as file:
        file.write(json.dumps(line | {"id": name, "version": name, "row": row}, separators=(",", ":")) + "\n")
    return name


def test_a_row_of_which_the_log_holds_a_part_is_exit_code_2_and_says_which(run: Run, withheld: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", withheld) == 2

    said = capsys.readouterr().err
    assert "the prediction log holds km not at all, city only as a hash" in said
    assert f"`ratchet why {withheld}`" in said
    assert run("why", withheld) == 0


def test_with_the_rest_of_the_row_from_a_file_it_is_replayed(run: Run, withheld: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rest = tmp_path / "rest.json"
    rest.write_text('{"km": 2.5, "city": "b"}')
    assert run("explain", withheld, "--row", str(rest)) == 0
    assert "today's replay equals what was answered" in capsys.readouterr().out

    rest.write_text('{"km": 2.5, "city": "c"}')
    assert run("explain", withheld, "--row", str(rest)) == 2
    assert "city was given with another value than was sent" in capsys.readouterr().err

    rest.write_text("[]")
    assert run("explain", withheld, "--row", str(rest)) == 2
    assert "rest.json: is no JSON object" in capsys.readouterr().err


def test_an_id_that_no_log_holds_is_exit_code_2(run: Run, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "nonsense") == 2
    assert "there is no answered row 'nonsense'" in capsys.readouterr().err
