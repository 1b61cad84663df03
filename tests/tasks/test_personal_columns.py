"""A personal column of a dataset gets into no log and no ledger, unless its author says how."""

from pathlib import Path

import pytest

from tasks.errors import SpecError
from tasks.project import Project
from tasks.spec import ModelSpec

DATASET = 'source = "people.csv"\npersonal = ["email", "phone"]\n'
MODEL = """
dataset = "people"
task = "binary"
slices = [{slices}]
label = {{ column = "left", positive = "yes" }}
gate = {{ metric = "roc_auc" }}
log = {{ keep_days = {days} }}
monitoring = {{ window = "{window}" }}
[features]
email = {{ type = "category"{log} }}
plan = {{ type = "category" }}
"""


def model(root: Path, log: str = ', log = "hash"', slices: str = '"plan"', days: int = 400, window: str = "day") -> ModelSpec:
    files = {"expectations/people/dataset.toml": DATASET, "bentos/leaving/model.toml": MODEL.format(log=log, slices=slices, days=days, window=window)}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    return Project(root).model("leaving")


@pytest.mark.parametrize("log", ["hash", "omit"])
def test_a_personal_column_may_be_a_feature_that_is_hashed_or_left_out_of_the_log(log: str, tmp_path: Path) -> None:
    assert list(model(tmp_path, f', log = "{log}"').contract.logged) == ["plan"]


@pytest.mark.parametrize("log", ["", ', log = "plain"'])
def test_one_that_would_be_logged_as_it_is_names_both_files(log: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as told:
        model(tmp_path, log)

    assert told.value.path.endswith("bentos/leaving/model.toml")
    (problem,) = told.value.problems
    assert problem.startswith('feature \'email\', which expectations/people/dataset.toml lists under personal, needs log = "hash" or log = "omit":')


def test_one_is_no_slice_of_the_gate(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`slices` names 'email', which .*/dataset.toml lists under personal: its values would stand in the ledger"):
        model(tmp_path, slices='"email"')


@pytest.mark.parametrize(("window", "days"), [("day", 2), ("week", 14), ("month", 62)])
def test_the_log_is_kept_for_two_monitoring_windows_at_least(window: str, days: int, tmp_path: Path) -> None:
    assert model(tmp_path / "enough", days=days, window=window).log.keep_days == days

    with pytest.raises(SpecError, match=rf"log.keep_days is {days - 1}, and two monitoring windows of a {window} take {days}"):
        model(tmp_path / "short", days=days - 1, window=window)
