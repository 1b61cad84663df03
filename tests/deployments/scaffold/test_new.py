"""`ratchet new`: a file becomes two folders that work, or a clear error and nothing."""

import json
import logging
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from strangers import Made, harvests, rents, subscribers

from bentos.runtime.rows import request_model
from deployments.scaffold import proposal
from deployments.scaffold.check import check
from deployments.scaffold.new import new
from tasks.data import source
from tasks.data.snapshot import training_frame
from tasks.data.validation import load_suite, validate
from tasks.errors import SpecError
from tasks.project import Project
from tasks.spec import ModelSpec
from tasks.training.split import split

KINDS = ["scaf_churn", "scaf_grade", "scaf_rent"]


def written(root: Path, frame: pd.DataFrame, name: str, label: str, time: str | None = None, **options: str) -> tuple[ModelSpec, pd.DataFrame, ModuleType]:
    """Spec, training frame and pipeline module of a model made from a frame."""
    frame.to_csv(root / f"{name}.csv", index=False)
    new(name, root / f"{name}.csv", label, time, root, **options)
    return loaded(Project(root), name)


def loaded(project: Project, name: str) -> tuple[ModelSpec, pd.DataFrame, ModuleType]:
    spec = project.model(name)
    dataset, pipeline = project.dataset(spec.dataset), project.pipeline(name)
    return spec, training_frame(source.read(dataset, "all"), dataset, spec, pipeline.features), pipeline


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_passes_its_own_check_on_its_own_rows(made: Made, name: str) -> None:
    assert [str(problem) for problem in check(name, made.project) if problem.level != "hint"] == []


@pytest.mark.parametrize("name", KINDS)
def test_the_proposed_suites_hold_for_the_rows_they_came_from(made: Made, name: str) -> None:
    spec, frame, _ = loaded(made.project, name)
    folder = made.root / "expectations" / spec.dataset

    raw = validate(source.read(made.project.dataset(spec.dataset), "all"), load_suite(folder / "raw.json"))
    served = validate(frame, load_suite(folder / f"{name}.json"))

    assert (raw.findings, served.findings) == ((), ())


@pytest.mark.parametrize("name", KINDS)
def test_the_sample_request_fits_the_row_contract(made: Made, name: str) -> None:
    spec = made.project.model(name)

    request = request_model(spec.contract, 1_000).model_validate_json((spec.folder / "sample.json").read_text())

    assert len(request.rows) == 2


def test_every_file_of_the_two_folders_is_reported(made: Made) -> None:
    found = {path.relative_to(made.root).as_posix() for path in made.files["scaf_grade"]}

    folder = {"__init__.py", "dataset.toml", "data.csv", "raw.json", "scaf_grade.json"}
    model = {"__init__.py", "model.toml", "pipeline.py", "sample.json", "service.py"}
    assert found == {f"expectations/scaf_harvest/{name}" for name in folder} | {f"bentos/scaf_grade/{name}" for name in model}


def test_two_texts_are_a_binary_label_and_the_usual_word_is_true(made: Made) -> None:
    spec, frame, _ = loaded(made.project, "scaf_churn")

    assert (spec.task, spec.label.positive, spec.gate.metric) == ("binary", "yes", "roc_auc")
    assert frame["label"].mean() == pytest.approx((subscribers()["left us"] == "yes").mean())


def test_a_few_texts_are_classes_and_many_numbers_a_regression(made: Made) -> None:
    grade, rent = made.project.model("scaf_grade"), made.project.model("scaf_rent")

    assert (grade.task, grade.classes, grade.gate.metric) == ("multiclass", ("A", "B", "C"), "log_loss")
    assert (rent.task, rent.gate.metric) == ("regression", "mae")
    assert 0 < rent.gate.min_effect < 0.01 * np.abs(rents()["rent"] - rents()["rent"].median()).mean()


def test_odd_column_names_become_names_that_a_request_can_have(made: Made) -> None:
    spec = made.project.model("scaf_churn")

    assert list(spec.features) == ["monthly_tenure_m", "plan", "column_2nd_line", "total", "Total_", "class_"]
    assert {name: feature.type for name, feature in spec.features.items()} == {
        "monthly_tenure_m": "integer",
        "plan": "category",
        "column_2nd_line": "boolean",
        "total": "number",
        "Total_": "number",
        "class_": "category",
    }


def test_names_that_clash_after_cleaning_get_a_number(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a b": np.arange(60) % 7 + 0.5, "a-b": np.arange(60) % 5 + 0.5, "a_b": np.arange(60) % 3 + 0.5, "y": np.arange(60) % 2})

    spec, rows, _ = written(tmp_path, frame, "scaf_clash", "y")

    assert list(spec.features) == ["a_b_2", "a_b_3", "a_b"]
    assert rows[["a_b_2", "a_b_3", "a_b"]].to_numpy().tolist() == frame[["a b", "a-b", "a_b"]].to_numpy().tolist()


def test_ids_are_left_out_with_the_reason(made: Made) -> None:
    text = (made.root / "bentos" / "scaf_churn" / "model.toml").read_text()

    assert "# Left out Customer-ID: an id or names: 600 different texts in 600 rows." in text
    assert 'Perhaps "Customer-ID"' in (made.root / "expectations" / "scaf_churn" / "dataset.toml").read_text()


def test_a_text_for_null_among_numbers_is_read_as_null(made: Made) -> None:
    spec, frame, _ = loaded(made.project, "scaf_churn")

    assert spec.features["total"].nullable
    assert frame["total"].isna().sum() == (subscribers()["total €"] == " ").sum() > 0


def test_without_a_time_column_the_last_fifth_of_the_rows_is_the_hold_out(made: Made) -> None:
    spec, frame, _ = loaded(made.project, "scaf_churn")

    parts = split(frame, spec.gate, spec.name)

    assert len(parts.holdout) == 120
    assert parts.holdout["monthly_tenure_m"].tolist() == subscribers()["Monthly tenure (m)"].tail(120).tolist()
    assert "the order of the rows counts as time" in (made.root / "expectations" / "scaf_churn" / "dataset.toml").read_text()


def test_hour_and_weekday_come_from_the_time_only_where_they_tell_rows_apart(made: Made) -> None:
    assert {"hour", "weekday"} <= set(made.project.model("scaf_grade").features)
    assert "weekday" in made.project.model("scaf_rent").features
    assert "hour" not in made.project.model("scaf_rent").features


def test_days_of_a_long_span_are_drawn_together_and_rows_of_a_short_one_alone(made: Made, tmp_path: Path) -> None:
    short = harvests(400).assign(picked_at=pd.date_range("2024-05-01", periods=400, freq="10min"))

    spec, _, _ = written(tmp_path, short, "scaf_short", "grade", "picked_at")

    assert (made.project.model("scaf_grade").gate.block, spec.gate.block) == ("day", "row")


def test_a_gate_of_sixty_rows_can_judge(tmp_path: Path) -> None:
    spec, frame, _ = written(tmp_path, subscribers(60), "scaf_sixty", "left us")

    parts = split(frame, spec.gate, spec.name)

    assert len(parts.holdout) >= spec.gate.min_rows
    assert [p for p in check("scaf_sixty", Project(tmp_path)) if p.level == "error"] == []


def test_whole_numbers_are_classes_under_their_digits(tmp_path: Path) -> None:
    frame = harvests().assign(grade=harvests()["grade"].map({"A": 2, "B": 1, "C": 0}).astype(float).mask(lambda g: g.index == 5))

    spec, rows, _ = written(tmp_path, frame, "scaf_digits", "grade", "picked_at")

    assert (spec.task, spec.classes) == ("multiclass", ("0", "1", "2"))
    assert (len(rows), set(rows["label"])) == (899, {"0", "1", "2"})


def test_zero_and_one_are_false_and_true(tmp_path: Path) -> None:
    spec, rows, _ = written(tmp_path, subscribers().assign(y=np.arange(600) % 2), "scaf_bits", "y")

    assert (spec.task, spec.label.above, spec.label.positive) == ("binary", 0.5, None)
    assert rows["label"].tolist() == [0.0, 1.0] * 300


def test_task_and_positive_can_be_told(tmp_path: Path) -> None:
    stars = rents().assign(stars=np.arange(1_200) % 5)

    regression, _, _ = written(tmp_path, stars, "scaf_stars", "stars", task="regression")
    other, rows, _ = written(tmp_path, subscribers(), "scaf_stays", "left us", positive="no")

    assert regression.task == "regression"
    assert (other.label.positive, rows["label"].mean()) == ("no", pytest.approx((subscribers()["left us"] == "no").mean()))


def test_rows_in_the_order_of_their_label_are_mixed_the_same_way_each_time(tmp_path: Path) -> None:
    spec, first, _ = written(tmp_path, harvests().sort_values("grade").drop(columns="picked_at"), "scaf_sorted", "grade")

    parts, again = split(first, spec.gate, spec.name), loaded(Project(tmp_path), "scaf_sorted")[1]

    assert parts.holdout["label"].nunique() == 3
    pd.testing.assert_frame_equal(first, again)
    assert "mixes its rows" in (tmp_path / "expectations" / "scaf_sorted" / "dataset.toml").read_text()


@pytest.mark.parametrize("kind", ["numbers", "categories", "booleans", "nulls"])
def test_a_table_of_one_kind_of_column_works(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    made_of = {
        "numbers": lambda: rng.normal(size=300),
        "categories": lambda: rng.choice(["u", "v", "w"], 300),
        "booleans": lambda: rng.random(300) < 0.5,
        "nulls": lambda: pd.Series(rng.normal(size=300)).mask(rng.random(300) < 0.9),
    }[kind]
    frame = pd.DataFrame({f"x{number}": made_of() for number in range(3)} | {"y": rng.choice(["no", "yes"], 300)})

    spec, rows, _ = written(tmp_path, frame, f"scaf_only_{kind}", "y")

    assert len(rows) == 300
    assert [str(p) for p in check(spec.name, Project(tmp_path)) if p.level != "hint"] == []


def test_many_valued_categories_stay_out_of_the_linear_family(tmp_path: Path) -> None:
    frame = subscribers(2_000).assign(town=[f"town {number % 150}" for number in range(2_000)])

    spec, _, pipeline = written(tmp_path, frame, "scaf_towns", "left us")

    assert "town" in pipeline.CATEGORIES and "town" not in pipeline.FEW
    assert [str(p) for p in check(spec.name, Project(tmp_path)) if p.level != "hint"] == []


def test_a_column_that_tells_the_label_is_pointed_out_in_the_file_and_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "deployments.scaffold")
    frame = rents().assign(rent_with_tax=lambda f: f["rent"] * 1.19)

    written(tmp_path, frame, "scaf_leak", "rent", "day")

    assert any("rent_with_tax" in text and "leak" in text for text in caplog.messages)
    assert "# DECIDE: rent_with_tax explains the label almost alone" in (tmp_path / "bentos" / "scaf_leak" / "model.toml").read_text()


def test_what_was_inferred_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "deployments.scaffold")

    written(tmp_path, subscribers(), "scaf_told", "left us")

    said = "\n".join(caplog.messages)
    assert "Label 'left us' is binary" in said and "--positive" in said
    assert "Left out 'Customer-ID'" in said and "the order of the rows counts as time" in said and "copied" in said


def test_a_large_file_is_not_copied_but_named_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal, "COPY_BYTES", 1_000)

    _, rows, _ = written(tmp_path, subscribers(), "scaf_large", "left us")

    spec = Project(tmp_path).dataset("scaf_large")
    assert spec.source == str(tmp_path / "scaf_large.csv")
    assert len(rows) == 600
    assert not list(spec.folder.glob("data.csv"))


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    frame = harvests().assign(orchard=lambda f: f["orchard"].astype("category"), picked_at=lambda f: f["picked_at"].dt.tz_localize("Europe/Berlin"))
    frame.to_parquet(tmp_path / "harvests.parquet")

    new("scaf_parquet", tmp_path / "harvests.parquet", "grade", "picked_at", tmp_path)

    spec, rows, _ = loaded(Project(tmp_path), "scaf_parquet")
    assert (spec.features["orchard"].type, len(rows)) == ("category", 900)
    assert rows["event_time"].iloc[0] == pd.Timestamp("2024-05-01 04:00")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("semicolons", {"sep": ";"}),
        ("spreadsheet", {"sep": ";", "decimal": ",", "encoding": "cp1252"}),
        ("bom", {"encoding": "utf-8-sig"}),
        ("tabs", {"sep": "\t"}),
        ("utf16", {"encoding": "utf-16"}),
    ],
)
def test_a_file_in_another_dialect_gives_the_same_rows(tmp_path: Path, name: str, arguments: dict[str, str]) -> None:
    frame = rents().rename(columns={"metres": "Fläche", "rent": "Miete"})
    frame.to_csv(tmp_path / "rents.csv", index=False, **arguments)

    new(f"scaf_{name}", tmp_path / "rents.csv", "Miete", "day", tmp_path)

    _, rows, _ = loaded(Project(tmp_path), f"scaf_{name}")
    assert rows["flache"].tolist() == frame["Fläche"].tolist()
    assert rows["label"].tolist() == frame["Miete"].tolist()
    assert rows["event_time"].iloc[-1] == pd.Timestamp("2024-03-06")


def test_blanks_after_the_separator_are_not_part_of_a_value(tmp_path: Path) -> None:
    rows = ["age, work, income", *(f"{20 + n % 50}, {'state' if n % 3 else 'private'}, {'>50K' if n % 4 == 0 else '<=50K'}" for n in range(200))]
    (tmp_path / "padded.csv").write_text("\n".join(rows) + "\n")

    new("scaf_padded", tmp_path / "padded.csv", "income", None, tmp_path)

    spec, frame, _ = loaded(Project(tmp_path), "scaf_padded")
    assert (spec.label.positive, set(frame["work"])) == (">50K", {"state", "private"})


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", "2024-01-01 05:00"),
        ("%d.%m.%Y %H:%M", "2024-01-01 05:00"),
        ("%m/%d/%Y %I:%M %p", "2024-01-01 05:00"),
        ("%d-%b-%Y", "2024-01-01"),
        ("%d/%m/%y", "2024-01-01"),
        ("%Y%m%d", "2024-01-01"),
        ("%B %d, %Y", "2024-01-01"),
    ],
)
def test_times_are_read_however_they_are_written(tmp_path: Path, form: str, expected: str) -> None:
    name = f"scaf_time_{''.join(c for c in form.lower() if c.isalnum())}"
    frame = rents(400).assign(day=pd.date_range("2024-01-01 05:00", periods=400, freq="6h").strftime(form))

    _, rows, _ = written(tmp_path, frame, name, "rent", "day")

    assert rows["event_time"].iloc[0] == pd.Timestamp(expected)
    assert rows["event_time"].is_monotonic_increasing


def test_days_that_could_be_months_are_left_to_a_person(tmp_path: Path) -> None:
    days = pd.Series(pd.date_range("2022-01-01", "2022-12-12")).loc[lambda d: d.dt.day <= 12]
    frame = rents(len(days)).assign(day=days.dt.strftime("%m/%d/%Y").to_list())

    _, rows, _ = written(tmp_path, frame, "scaf_doubt", "rent", "day")

    assert rows["event_time"].iloc[-1] == pd.Timestamp("2022-12-12")
    assert "# DECIDE: '%d/%m/%Y' and '%m/%d/%Y' both fit every value" in (tmp_path / "expectations" / "scaf_doubt" / "source.py").read_text()


def test_a_personal_column_that_becomes_a_feature_is_hashed_and_its_values_stand_in_no_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    people = [f"person{number}@example.com" for number in range(12)]
    frame = rents(400).drop(columns="day").assign(**{"E-Mail": rng.choice(people, 400), "phone": rng.integers(10**6, 10**6 + 8, 400)})

    spec, _, _ = written(tmp_path, frame, "scaf_person", "rent")

    assert {name: feature.log for name, feature in spec.features.items() if feature.log != "plain"} == {"e_mail": "hash", "phone": "hash"}
    assert [str(problem) for problem in check("scaf_person", Project(tmp_path)) if problem.level != "hint"] == []
    sample = (spec.folder / "sample.json").read_text()
    assert "@example.com" not in sample
    assert {row["phone"] for row in json.loads(sample)["rows"]} == {0}
    suite = load_suite(tmp_path / "expectations" / "scaf_person" / "scaf_person.json")
    assert {column for each in suite.expectations for column in each.columns} == {"metres", "rooms", "floor"}


def test_nothing_is_ever_written_over(made: Made) -> None:
    before = {path: path.read_bytes() for path in made.files["scaf_rent"]}

    with pytest.raises(SpecError, match="taken"):
        new("scaf_rent", made.root / "rents.csv", "rent", None, made.root)
    with pytest.raises(SpecError, match="choose another with --dataset"):
        new("scaf_other", made.root / "rents.csv", "rent", None, made.root, dataset="scaf_rent")

    assert {path: path.read_bytes() for path in before} == before


def test_a_name_that_the_engine_itself_has_is_taken(tmp_path: Path) -> None:
    rents().to_csv(tmp_path / "rents.csv", index=False)

    for name in ("runtime", "flights_late"):
        with pytest.raises(SpecError, match="taken"):
            new(name, tmp_path / "rents.csv", "rent", None, tmp_path)


def files_of_nonsense() -> dict[str, str]:
    """Name and text of files that are wrong in one way each, and of a good one."""
    frame = rents(120)
    return {
        "empty.csv": "",
        "header.csv": "a,b,y\n",
        "short.csv": frame.head(49).to_csv(index=False),
        "twice.csv": "x,y,x\n" + "1,2,3\n" * 60,
        "ragged.csv": "x,y\n" + "1,2\n" * 60 + "1,2,3\n",
        "headless.csv": frame.drop(columns="day").to_csv(index=False, header=False),
        "single.csv": "y\n" + "1\n2\n" * 40,
        "table.xlsx": "PK\x03\x04",
        "binary.csv": "\0\1\2" * 1_000,
        "fake.parquet": "no parquet at all",
        "null.csv": frame.assign(rent="").to_csv(index=False),
        "constant.csv": frame.assign(rent=5).to_csv(index=False),
        "texts.csv": frame.assign(rent=[f"some text {n}" for n in range(120)]).to_csv(index=False),
        "mixed.csv": frame.assign(rent=[*frame["rent"].astype(str)[:-1], "?"]).to_csv(index=False),
        "gaps.csv": frame.assign(day=["", *frame["day"][1:]]).to_csv(index=False),
        "ids.csv": pd.DataFrame({"id": range(100), "y": np.arange(100) % 2}).to_csv(index=False),
        "clock.csv": frame.assign(event_time=frame["floor"]).to_csv(index=False),
        "rare.csv": frame.assign(rent=np.arange(120) < 3).to_csv(index=False),
        "good.csv": frame.to_csv(index=False),
    }


NONSENSE: list[tuple[str, dict[str, str]]] = [
    ("no such file", {"data": "absent.csv"}),
    ("is empty", {"data": "empty.csv"}),
    ("no rows", {"data": "header.csv"}),
    ("49 rows", {"data": "short.csv"}),
    ("more than once: 'x'", {"data": "twice.csv"}),
    ("row 62 has 3 fields", {"data": "ragged.csv"}),
    ("holds numbers", {"data": "headless.csv"}),
    ("one column only", {"data": "single.csv"}),
    ("'.xlsx' are not read", {"data": "table.xlsx"}),
    ("binary.csv", {"data": "binary.csv"}),
    ("no Parquet", {"data": "fake.parquet"}),
    ("Did you mean 'rent'", {"label": "rents"}),
    ("Did you mean 'day'", {"time": "days"}),
    ("null in every row", {"data": "null.csv"}),
    ("nothing to learn", {"data": "constant.csv"}),
    ("neither numbers nor a few classes", {"data": "texts.csv"}),
    (r"but also '\?'", {"data": "mixed.csv"}),
    ("row 1 is empty", {"data": "gaps.csv", "time": "day"}),
    ("time column 'metres'", {"time": "metres"}),
    ("both label and time", {"label": "floor", "time": "floor"}),
    ("has a column `event_time`", {"data": "clock.csv"}),
    ("'True' in 3 rows only", {"data": "rare.csv"}),
    ("no column is left", {"data": "ids.csv", "label": "y"}),
    ("no task 'classify'", {"task": "classify"}),
    ("so it is not binary", {"task": "binary"}),
    ("3 to 50", {"task": "multiclass"}),
    ("is for binary labels", {"positive": "5"}),
    ("cannot name a model", {"name": "Rent 1"}),
    ("'class' cannot name", {"name": "class"}),
    ("cannot name a dataset", {"dataset": "../up"}),
]


@pytest.mark.parametrize(("said", "asked"), NONSENSE, ids=[said for said, _ in NONSENSE])
def test_nonsense_ends_in_a_sentence_and_leaves_nothing_behind(tmp_path: Path, said: str, asked: dict[str, str]) -> None:
    for name, text in files_of_nonsense().items():
        (tmp_path / name).write_text(text)
    given = {"name": "scaf_nonsense", "data": "good.csv", "label": "rent", "time": None} | asked

    with pytest.raises(SpecError, match=said):
        new(**{**given, "data": tmp_path / given["data"]}, project=tmp_path)

    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rents().to_csv(tmp_path / "rents.csv", index=False)
    monkeypatch.setattr("deployments.scaffold.spec_files.sample_json", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        new("scaf_broken", tmp_path / "rents.csv", "rent", "day", tmp_path)

    assert [path for path in tmp_path.rglob("*") if "scaf_broken" in path.name] == []


def test_the_sample_is_a_request_and_nothing_else(made: Made) -> None:
    sample = json.loads((made.root / "bentos" / "scaf_churn" / "sample.json").read_text())

    assert list(sample) == ["rows"]
    assert isinstance(sample["rows"][0]["column_2nd_line"], bool) and isinstance(sample["rows"][0]["monthly_tenure_m"], int)
