"""What the log keeps of a person: a keyed hash, or nothing, as model.toml says."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bentos.runtime.contract import Contract, Feature
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.lines import PredictionLine, hash_of
from bentos.runtime.place import Place
from bentos.runtime.rows import Models
from bentos.runtime.scoring import Scorer

EMAIL = "alice.archer@example.com"
MODES = {"carrier": "omit", "Seats (n)": "hash", "temp": "hash"}
Row = dict[str, Any]
Make = Callable[..., Endpoint]


@pytest.fixture
def personal(scorer_of: Callable[[str, str], Scorer], tmp_path: Path) -> Make:
    """An endpoint of a model that logs its features as `MODES` says."""

    def make(kind: str = "onnx", **place: Any) -> Endpoint:
        plain = scorer_of("binary", kind)
        features = {name: Feature(**{**vars(feature), "log": MODES.get(name, "plain")}) for name, feature in plain.card.contract.features.items()}
        card = plain.card.model_copy(update={"contract": plain.card.contract.model_copy(update={"features": features})})
        made = Endpoint(Scorer(card, plain.scores), Models(card.contract, 3), Place(**({"log": tmp_path / "log", "hash_key": "k1"} | place)))
        made.warm_up()
        return made

    return make


def line_of(endpoint: Endpoint, row: Row) -> PredictionLine:
    """The line of an answered row."""
    endpoint.predict(json.dumps({"rows": [row]}).encode())
    assert endpoint.place.log is not None
    newest = max((endpoint.place.log / endpoint.models.contract.name / "predictions").iterdir())
    return PredictionLine.model_validate_json(newest.read_bytes().splitlines()[-1])


def test_plain_values_are_logged_hashed_ones_as_a_hash_and_omitted_ones_not_at_all(personal: Make, row: Row) -> None:
    line = line_of(personal(), row)

    assert line.row == {
        "origin": "JFK",
        "distance": 900.0,
        "weekend": False,
        "Seats (n)": hash_of(150.0, b"k1"),
        "temp": hash_of(51.5, b"k1"),
    }
    assert all(len(line.row[name]) == 16 and int(line.row[name], 16) for name in ("Seats (n)", "temp"))


def test_a_null_stays_null_whether_it_is_sent_or_left_out(personal: Make, row: Row) -> None:
    line = line_of(personal(), {name: value for name, value in row.items() if name != "temp"} | {"Seats (n)": None})

    assert (line.row["Seats (n)"], line.row["temp"]) == (None, None)


def test_one_value_has_one_hash_however_its_number_is_written_and_another_under_another_key(personal: Make, row: Row, tmp_path: Path) -> None:
    endpoint = personal()
    first, again = line_of(endpoint, row), line_of(endpoint, row | {"Seats (n)": 150.0})
    other = line_of(personal(hash_key="k2", log=tmp_path / "other"), row)

    assert first.row["Seats (n)"] == again.row["Seats (n)"]
    assert first.row["Seats (n)"] != other.row["Seats (n)"]


def test_an_entity_is_hashed_with_the_key_and_without_one_it_is_left_out(endpoint: Make, row: Row, tmp_path: Path) -> None:
    keyed = line_of(endpoint(hash_key="k1"), row | {"entity": EMAIL})
    unkeyed = line_of(endpoint(log=tmp_path / "other"), row | {"entity": EMAIL})

    assert (keyed.entity, unkeyed.entity) == (hash_of(EMAIL, b"k1"), "")
    assert hash_of(EMAIL, b"k1") == "706f5797c25b4894", "the first 16 digits of openssl's HMAC-SHA256"


def test_a_model_with_hashed_features_does_not_start_a_log_without_a_key(personal: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logs Seats \(n\), temp as keyed hashes, and RATCHET_HASH_KEY is not set"):
        personal(hash_key="")

    assert not (tmp_path / "log").exists()
    assert personal(hash_key="", log=None).ready, "without a log nothing is hashed, as under a stock `bentoml serve`"


def test_a_contract_that_says_nothing_logs_every_feature() -> None:
    contract = Contract.model_validate({"name": "old", "task": "binary", "features": {"km": {"type": "number"}}})

    assert contract.logged == contract.features


@pytest.mark.parametrize("kind", ["onnx", "sklearn"])
def test_an_omitted_e_mail_leaves_no_trace_in_the_log_folder_and_none_on_stderr(
    personal: Make, row: Row, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    endpoint = personal(kind)
    sent = row | {"carrier": EMAIL}
    bodies = [
        {"rows": [sent | {"entity": EMAIL}]},  # answered
        {"rows": [sent | {"distance": EMAIL}]},  # a wrong type
        {"rows": [sent | {EMAIL: 1}]},  # an unknown field
        {"rows": [sent] * 4},  # too many
        {"rows": [sent | {"event_time": "2199-01-01T00:00:00Z"}]},  # too far ahead
    ]

    async def post() -> list[int]:
        transport = httpx.ASGITransport(Guard(Starlette(), lambda: endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.post("/predict", json=body)).status_code for body in bodies]

    answered = asyncio.run(post())
    if endpoint.inline:
        endpoint.close()

    assert answered == [200, 400, 400, 400, 409]
    files = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert b'"flags":["unseen:carrier"]' in b"".join(path.read_bytes() for path in files)
    assert not [path for path in files if EMAIL.encode() in path.read_bytes()]
    assert EMAIL not in "".join(capfd.readouterr())
