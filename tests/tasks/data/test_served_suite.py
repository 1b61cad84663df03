"""The suite of served rows may ask for what the log holds, and is refused over anything else."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from bentos.runtime.contract import Feature
from tasks.data.suite import load_served_suite
from tasks.errors import SpecError
from tasks.spec import Gate, Label, ModelSpec

ROWS = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


def about(*columns: str) -> list[dict[str, Any]]:
    return [{"type": "expect_column_to_exist", "kwargs": {"column": column}} for column in columns]


def spec(root: Path, log: Literal["plain", "hash", "omit"], entries: list[dict[str, Any]]) -> ModelSpec:
    """A model with features `km` and `email`, and the suite of its served rows."""
    path = root / "expectations" / "rides" / "late.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"name": "late", "expectations": [ROWS, *entries]}, indent=0))
    features = {"km": Feature(type="number"), "email": Feature(type="category", log=log)}
    label = Label(column="late", positive="yes")
    return ModelSpec(name="late", folder=root / "bentos" / "late", dataset="rides", task="binary", label=label, features=features, gate=Gate(metric="roc_auc"))


def test_a_suite_about_what_the_log_holds_is_read(tmp_path: Path) -> None:
    assert len(load_served_suite(spec(tmp_path, "hash", about("km", "prediction"))).expectations) == 3


def test_features_that_are_logged_as_they_are_may_all_be_asked_for(tmp_path: Path) -> None:
    assert len(load_served_suite(spec(tmp_path, "plain", about("km", "email"))).expectations) == 3


@pytest.mark.parametrize("log", ["hash", "omit"])
def test_a_suite_about_what_the_log_withholds_is_refused_by_line(log: Literal["hash", "omit"], tmp_path: Path) -> None:
    with pytest.raises(SpecError) as told:
        load_served_suite(spec(tmp_path, log, about("km", "email")))

    (problem,) = told.value.problems
    number = int(problem.removeprefix("line ").partition(":")[0])
    lines = (tmp_path / "expectations" / "rides" / "late.json").read_text().splitlines()
    assert '"email"' in "".join(lines[number - 1 : number + 5])
    assert f"expect_column_to_exist asks for 'email', which the prediction log does not hold (log = \"{log}\" in model.toml)" in problem
