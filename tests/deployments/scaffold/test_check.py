"""`ratchet check` names the file and the line of what is wrong, and says nothing of what is right."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from strangers import Made

from deployments.scaffold.check import check
from deployments.scaffold.problems import Problem
from tasks.errors import UnknownNameError
from tasks.project import Project

Plant = Callable[[str, str, str], Path]
MODEL, DATASET = "bentos/scaf_grade", "expectations/scaf_harvest"


@pytest.fixture
def plant(made: Made) -> Iterator[Plant]:
    """Replaces a text in a file of the scaffolded project, which is put right afterwards."""
    before: dict[Path, bytes] = {}

    def replace(file: str, old: str, new: str) -> Path:
        path = made.root / file
        before.setdefault(path, path.read_bytes())
        text = path.read_text()
        assert old in text, f"{file} holds no {old!r}"
        path.write_text(text.replace(old, new, 1))
        return path

    yield replace
    for path, content in before.items():
        path.write_bytes(content)


def errors(name: str, made: Made) -> list[Problem]:
    return [problem for problem in check(name, made.project) if problem.level == "error"]


# File, text, what replaces it, text on the line that must be named ('' is the first line), words of the message, level.
PLANTED = [
    (f"{MODEL}/model.toml", "[gate]", "[gate", "[gate", "TOML", "error"),
    (f"{MODEL}/model.toml", "min_effect", "min_efect", "min_efect", "Did you mean 'min_effect'", "error"),
    (f"{MODEL}/model.toml", '{ type = "boolean" }', '{ type = "bool" }', "rainy = ", "rainy.type", "error"),
    (f"{MODEL}/model.toml", "{ type", "{ tipe", "orchard = ", "orchard.tipe: no such key", "error"),
    (f"{MODEL}/model.toml", 'metric = "log_loss"', 'metric = "roc_auc"', "metric = ", "does not suit", "error"),
    (f"{MODEL}/model.toml", "slices = []", 'slices = ["orchid"]', "slices = ", "'orchid'", "error"),
    (f"{MODEL}/model.toml", "trusted = []", 'trusted = ["sugr"]', "trusted = ", "'sugr'", "error"),
    (f"{MODEL}/model.toml", 'classes = ["A", "B", "C"]', 'classes = ["A", "B", "D"]', "classes = ", "classes", "error"),
    (f"{MODEL}/model.toml", 'column = "grade"', 'column = "grades"', "column = ", "'grades'", "error"),
    (f"{MODEL}/model.toml", 'sugar = { type = "number", nullable = true }', 'sugar = { type = "number" }', "sugar = ", "null in", "error"),
    (f"{MODEL}/model.toml", 'size_mm = { type = "number" }', 'size_mm = { type = "integer" }', "size_mm = ", "type is number", "error"),
    (f"{MODEL}/model.toml", 'orchard = { type = "category" }', 'orchard = { type = "category", closed = ["north"] }', "orchard = ", "'south'", "error"),
    (f"{MODEL}/model.toml", 'orchard = { type = "category" }', 'orchard = { type = "number" }', "def features", "no number", "error"),
    (
        f"{MODEL}/model.toml",
        'size_mm = { type = "number" }',
        'size_mm = { type = "number" }\nsize_cm = { type = "number" }',
        "def features",
        "'size_cm'",
        "error",
    ),
    (f"{MODEL}/model.toml", 'dataset = "scaf_harvest"', 'dataset = "scaf_harvests"', "dataset = ", "Did you mean 'scaf_harvest'", "error"),
    (f"{MODEL}/model.toml", 'block = "day"', 'block = "entity"', "block = ", "names no entity", "error"),
    (f"{MODEL}/model.toml", "min_rows = 90\n", "min_rows = 900\n", "min_rows = 900", "nothing would be promoted", "error"),
    (f"{MODEL}/pipeline.py", "def build(", "def build((", "def build((", "no Python", "error"),
    (f"{MODEL}/pipeline.py", "import pandas as pd", "import pandas as pd\nimport not_there", "import not_there", "not_there", "error"),
    (f"{MODEL}/pipeline.py", "def space(", "def spaces(", "", "no function space()", "error"),
    (f"{MODEL}/pipeline.py", "    return frame[", '    frame = frame[raw["grade"] != ""]\n    return frame[', 'raw["grade"]', "'grade'", "error"),
    (f"{MODEL}/pipeline.py", "    return frame[", '    frame["x"] = raw["sized"]\n    return frame[', 'raw["sized"]', "'sized'", "error"),
    (f"{MODEL}/pipeline.py", "    return frame[", '    raw["event_time"].mean_()\n    return frame[', "mean_()", "mean_", "error"),
    (f"{MODEL}/pipeline.py", "random_state=seed,\n", "random_states=seed,\n", "model = HistGradient", "random_states", "error"),
    (f"{MODEL}/pipeline.py", '["boosting", "linear"]', '["linear"]', "def space", "at least two", "error"),
    (f"{MODEL}/pipeline.py", '["boosting", "linear"]', '["boosting", "linear", "forest"]', "raise ValueError", "'forest'", "error"),
    (f"{MODEL}/pipeline.py", "trial.suggest_categorical", "trial.suggest_category", "suggest_category(", "space() failed", "error"),
    (
        f"{MODEL}/pipeline.py",
        'OneHotEncoder(handle_unknown="ignore")',
        'OneHotEncoder(handle_unknown="ignore", min_frequency=400)',
        "def build",
        "Infrequent",
        "warning",
    ),
    (f"{MODEL}/sample.json", '"rows": [', '"rows": [,', '"rows"', "JSON", "error"),
    (f"{MODEL}/sample.json", '"rainy": false', '"rainy": "no"', '"rainy": "no"', "boolean", "error"),
    (f"{MODEL}/sample.json", '"rainy"', '"rany"', '"rany"', "rany", "error"),
    (f"{MODEL}/service.py", "service_of(Path", "service_off(Path", "service_off(Path", "service_off", "error"),
    (f"{MODEL}/service.py", "ScafGrade = ", "ScafGrade = None, ", "", "one BentoML service", "error"),
    (f"{DATASET}/dataset.toml", "outcome", "outcomes", "outcomes = ", "Did you mean 'outcome'", "error"),
    (f"{DATASET}/dataset.toml", 'outcome = ["grade"]', 'outcome = ["grade", "colour"]', "outcome = ", "'colour'", "error"),
    (f"{DATASET}/dataset.toml", 'time = "picked_at"', 'time = "picked"', "time = ", "Did you mean 'picked_at'", "error"),
    (f"{DATASET}/dataset.toml", "personal = []", 'personal = ["orchard"]', "orchard = ", "which expectations/scaf_harvest/dataset.toml lists", "error"),
    (
        f"{MODEL}/model.toml",
        '{ type = "category" }',
        '{ type = "category", log = "omit" }',
        '"orchard"',
        "asks for 'orchard', which the prediction log",
        "error",
    ),
    (f"{DATASET}/dataset.toml", 'source = "data.csv"', 'source = "date.csv"', "source = ", "no file", "error"),
    (f"{DATASET}/raw.json", "expect_column_to_exist", "expect_columns_to_exist", "expect_columns_to_exist", "did you mean", "error"),
    (f"{DATASET}/raw.json", '"min_value": 450', '"min_value": 4500', "", "block", "warning"),
    (f"{DATASET}/scaf_grade.json", '"severity": "critical"', '"severity": "fatal"', "fatal", "'fatal'", "error"),
]


@pytest.mark.parametrize(("file", "old", "new", "line", "said", "level"), PLANTED, ids=[f"{Path(p[0]).name}-{p[4]}" for p in PLANTED])
def test_a_planted_error_is_found_in_its_file_and_on_its_line(
    made: Made, plant: Plant, file: str, old: str, new: str, line: str, said: str, level: str
) -> None:
    plant(file, old, new)

    found = [problem for problem in check("scaf_grade", made.project) if problem.level == level and said in problem.message]

    assert found, [str(problem) for problem in check("scaf_grade", made.project) if problem.level != "hint"]
    text = (made.root / found[0].path).read_text().splitlines()[found[0].line - 1]
    assert line in text, str(found[0])


def test_a_missing_file_is_named(made: Made, tmp_path: Path) -> None:
    names = [f"{MODEL}/sample.json", f"{MODEL}/service.py", f"{MODEL}/pipeline.py", f"{DATASET}/raw.json", f"{DATASET}/scaf_grade.json"]
    for name in names:
        shutil.move(made.root / name, tmp_path / Path(name).name)

    found = {problem.path.as_posix() for problem in errors("scaf_grade", made)}

    for name in names:
        shutil.move(tmp_path / Path(name).name, made.root / name)
    assert set(names) <= found


def test_several_errors_are_all_told_at_once(made: Made, plant: Plant) -> None:
    plant(f"{MODEL}/sample.json", '"rainy"', '"rany"')
    plant(f"{MODEL}/pipeline.py", '["boosting", "linear"]', '["linear"]')
    plant(f"{DATASET}/raw.json", "expect_column_to_exist", "expect_columns_to_exist")

    assert {problem.path.name for problem in errors("scaf_grade", made)} == {"sample.json", "pipeline.py", "raw.json"}


def test_a_leak_is_a_warning_until_it_is_trusted(made: Made, plant: Plant) -> None:
    plant(f"{MODEL}/pipeline.py", "    return frame[", '    frame = frame.assign(size_mm=frame["sugar"].fillna(0) * 0 + raw["row"])\n    return frame[')
    data = made.root / DATASET / "data.csv"
    before = data.read_text()
    lines = before.splitlines()
    codes = {"A": 1.5, "B": 2.5, "C": 3.5}
    data.write_text("\n".join([f"{lines[0]},row", *(f"{line},{codes[line[-1]]}" for line in lines[1:])]) + "\n")

    leaked = check("scaf_grade", made.project)
    plant(f"{MODEL}/model.toml", "trusted = []", 'trusted = ["size_mm"]')
    trusted = check("scaf_grade", made.project)

    data.write_text(before)
    assert [problem.level for problem in leaked if "as a leak would" in problem.message] == ["warning"]
    assert [problem for problem in trusted if "as a leak would" in problem.message] == []


def test_open_decisions_are_hints_with_their_line(made: Made) -> None:
    hints = [problem for problem in check("scaf_grade", made.project) if problem.level == "hint"]

    assert {problem.path.name for problem in hints} == {"dataset.toml", "model.toml", "pipeline.py"}
    for hint in hints:
        assert "DECIDE" in (made.root / hint.path).read_text().splitlines()[hint.line - 1]


def test_a_dataset_can_be_checked_alone(made: Made, plant: Plant) -> None:
    assert errors("scaf_harvest", made) == []

    plant(f"{DATASET}/dataset.toml", 'period = "all"', 'period = "year"')

    assert [str(problem.path) for problem in errors("scaf_harvest", made)] == [f"{DATASET}/dataset.toml"]


def test_an_unknown_name_is_an_error_with_a_suggestion(made: Made) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'scaf_grade'"):
        check("scaf_grad", made.project)


def test_a_problem_reads_as_a_line_that_editors_open(made: Made, plant: Plant) -> None:
    plant(f"{MODEL}/model.toml", "min_effect", "min_efect")

    assert str(errors("scaf_grade", made)[0]).startswith(f"{MODEL}/model.toml:")


@pytest.mark.parametrize("name", ["flights_late", "flights_airtime"])
def test_the_models_of_the_repository_have_no_errors(name: str) -> None:
    project = Project(Path(__file__).parents[3])

    assert [str(problem) for problem in check(name, project) if problem.level == "error"] == []
