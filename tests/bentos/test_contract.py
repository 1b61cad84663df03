"""Every model folder keeps its own promises, and a contract refuses what is wrong without refusing what is merely unseen."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, ValidationError

import bentos
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.errors import invalid
from bentos.runtime.rows import IN_RANGE, feedback_model, request_model

MODELS = sorted(path for path in Path(bentos.__file__).parent.glob("*/model.toml"))
CONTRACT = Contract(
    name="m",
    task="multiclass",
    classes=("wet", "dry", "icy"),
    features={
        "n": Feature(type="number", nullable=True),
        "i": Feature(type="integer", nullable=True),
        "b": Feature(type="boolean", nullable=True),
        "c": Feature(type="category"),
        "t": Feature(type="category", nullable=True),
        "k": Feature(type="category", closed=("a", "b"), nullable=True),
        "copy of _model (x)": Feature(type="number", nullable=True),  # any column name of any CSV
    },
)


def parse(change: dict[str, Any]) -> Any:
    return request_model(CONTRACT, 2).model_validate_json(json.dumps({"rows": [{"c": "x"} | change]})).rows[0]  # type: ignore[attr-defined]


def refused(model: type[BaseModel], body: str) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)
    return [field.path for field in invalid(caught.value).fields]


def errors(model: type[BaseModel], body: Any) -> list[str]:
    """Paths of what is wrong; empty when it is taken."""
    try:
        model.model_validate_json(json.dumps(body))
    except ValidationError as err:
        return [field.path for field in invalid(err).fields]
    return []


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_a_model_s_sample_is_a_valid_request_with_every_feature(path: Path) -> None:
    contract = Contract.load(path)

    rows = request_model(contract, 1000).model_validate_json((path.parent / "sample.json").read_bytes()).rows  # type: ignore[attr-defined]

    assert set(contract.features) <= set(rows[0])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_a_model_s_pipeline_is_fitted_and_asked_on_the_contract_s_columns(path: Path) -> None:
    from importlib import import_module

    contract = Contract.load(path)
    rows = json.loads((path.parent / "sample.json").read_text())["rows"]
    frame = contract.frame(pd.DataFrame([row | {"temp": 50.0 + i} for i, row in enumerate(rows * 30)]))
    label = pd.Series([0.0, 1.0] * 30)

    pipeline = import_module(f"bentos.{contract.name}.pipeline").build({"family": "boosting", "seed": 1, "max_iter": 2})

    assert len(pipeline.fit(frame, label).predict(frame)) == 60


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"n": 3}, 3.0),
        ({"n": None}, None),
        ({"i": 3.0}, 3),
        ({"b": True}, True),
        ({"c": "never seen"}, "never seen"),
        ({"t": ""}, ""),  # null to the model
        ({"t": None}, None),
        ({"k": "b"}, "b"),
        ({"copy of _model (x)": -1e29}, -1e29),
    ],
)
def test_values_of_the_right_type_pass_seen_or_not(change: dict[str, Any], found: Any) -> None:
    (name,) = change

    assert parse(change)[name] == found


@pytest.mark.parametrize(
    "change",
    [
        {"n": "3"},
        {"n": True},
        {"n": [3]},
        {"n": {"v": 3}},
        {"n": float("nan")},
        {"n": float("inf")},
        {"n": 1e31},
        {"n": 10**400},
        {"i": 3.5},
        {"i": "3"},
        {"b": 1},
        {"b": "true"},
        {"c": None},
        {"c": 3},
        {"c": ""},
        {"c": "x" * 1001},
        {"c": "a\0b"},
        {"k": "c"},
        {"unknown": 1},
        {"event_time": 1370000000},
        {"event_time": "yesterday"},
        {"event_time": "20130101"},
        {"event_time": "0001-01-01T00:00:00+05:00"},
        {"event_time": "9999-12-31T23:59:59-05:00"},
        {"event_time": "0001-01-01T00:00:00"},
        {"event_time": "1969-12-31T23:59:59.999Z"},
        {"event_time": "1970-01-01T00:00:00+00:01"},
        {"event_time": "2200-01-01T00:00:00Z"},
        {"event_time": "2199-12-31T23:59:59-00:01"},
        {"entity": 5},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_wrong_value_is_refused_by_its_path(change: dict[str, Any]) -> None:
    (name,) = change

    assert refused(request_model(CONTRACT, 2), json.dumps({"rows": [{"c": "x"} | change]})) == [f"rows.0.{name}"]


def test_a_feature_that_is_never_null_must_be_there_and_a_nullable_one_may_be_left_out() -> None:
    assert refused(request_model(CONTRACT, 2), '{"rows": [{"n": 1}]}') == ["rows.0.c"]
    assert "n" not in parse({})


@pytest.mark.parametrize("rows", [[], [{"c": "x"}] * 3, {"c": "x"}, None, [1], [[]]], ids=str)
def test_a_request_has_one_to_max_rows_rows(rows: Any) -> None:
    assert refused(request_model(CONTRACT, 2), json.dumps({"rows": rows}))[0].startswith("rows")


def test_a_time_without_a_zone_is_utc_and_one_with_a_zone_is_made_so() -> None:
    assert parse({"event_time": "2013-01-01T00:00:00"})["event_time"].isoformat() == "2013-01-01T00:00:00+00:00"
    assert parse({"event_time": "2013-01-01T00:00:00-05:00"})["event_time"].isoformat() == "2013-01-01T05:00:00+00:00"


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "1969-12-31T23:00:00-01:00", "2199-12-31T23:59:59.999Z", "2200-01-01T00:59:59+01:00"])
def test_the_times_that_monitoring_reads_are_taken_to_their_ends(time: str) -> None:
    assert parse({"event_time": time})["event_time"].year in {1970, 2199}


def test_a_documented_time_is_in_range_in_every_zone() -> None:
    documented = re.compile(IN_RANGE["pattern"])
    years = [f"{year:04}" for year in range(1, 10_000) if documented.search(f"{year:04}-01-01T00:00:00Z")]

    assert (years[0], years[-1], len(years)) == ("1971", "2198", 228)
    for time in ("1971-01-01T00:00:00+23:59", "2198-12-31T23:59:59-23:59"):
        assert parse({"event_time": time})["event_time"].utcoffset() == timedelta(0)


def test_the_empty_string_is_null_also_in_a_closed_category() -> None:
    for nullable, taken in ((False, ["a"]), (True, ["", "a", None])):
        contract = Contract(name="m", task="binary", features={"k": Feature(type="category", closed=("", "a"), nullable=nullable)})
        model = request_model(contract, 1)
        found = [value for value in ("", "a", None) if not errors(model, {"rows": [{"k": value}]})]

        assert found == taken


def test_a_label_of_a_number_has_the_bounds_of_a_feature_and_a_time_its_range() -> None:
    contract = Contract(name="m", task="regression", features={"n": Feature(type="number")})
    model, label = feedback_model(contract, 1), {"id": "01a20d5c-8524-7047-ac7e-a4eda2751da1", "label": 1e30}

    assert errors(model, {"labels": [label]}) == []
    assert errors(model, {"labels": [label | {"label": 1e31}]}) == ["labels.0.label"]
    assert errors(model, {"labels": [label | {"label": -1e308}]}) == ["labels.0.label"]
    assert errors(model, {"labels": [label | {"time": "1969-07-20T20:17:00Z"}]}) == ["labels.0.time"]


@pytest.mark.parametrize("label", [{"id": "x", "label": "wet"}, {"id": "01a20d5c-8524-7047-ac7e-a4eda2751da1", "label": "hail"}, {"label": "wet"}], ids=str)
def test_a_label_needs_an_id_and_a_class_of_the_contract(label: dict[str, Any]) -> None:
    assert refused(feedback_model(CONTRACT, 2), json.dumps({"labels": [label]}))


def test_a_refusal_never_repeats_a_value() -> None:
    secret = "s3cret"
    body = json.dumps({"rows": [{"c": 1, "n": secret, "i": secret, "b": secret, "k": secret, "event_time": secret, "entity": [secret]}, secret]})

    with pytest.raises(ValidationError) as caught:
        request_model(CONTRACT, 2).model_validate_json(body)

    assert secret.encode() not in invalid(caught.value).body


def test_a_refusal_stays_short_however_much_is_wrong() -> None:
    body = json.dumps({"rows": [{"c": "x", "k" * 5000: 1} | {f"u{i}": 1 for i in range(500)}]})

    with pytest.raises(ValidationError) as caught:
        request_model(CONTRACT, 2).model_validate_json(body)
    refusal = invalid(caught.value)

    assert len(refusal.fields) == 20
    assert "501 field(s)" in refusal.message
    assert len(refusal.body) < 4000
