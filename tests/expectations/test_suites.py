"""Every suite in expectations/ loads strictly, and the flights' raw suite tells their one broken month from the others."""

from pathlib import Path

import pytest

from tasks.data.source import read
from tasks.data.validation import Validation, load_suite, validate
from tasks.project import Project

PROJECT = Project(Path(__file__).parents[2])
SUITES = sorted((PROJECT.root / "expectations").glob("*/*.json"))
UNITS = {"distance": 1.609, "air_time": 60.0, "wind_speed": 1.609, "pressure": 0.1}  # what a factor makes of miles, minutes and hectopascals


def month(name: str, **factors: float) -> Validation:
    """A month of flights, some columns times a factor, held against the raw suite."""
    spec = PROJECT.dataset("flights")
    frame = read(spec, name)
    return validate(frame.assign(**{column: frame[column] * factor for column, factor in factors.items()}), load_suite(spec.folder / "raw.json"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_suite_loads_strictly(path: Path) -> None:
    assert load_suite(path).expectations


def test_every_dataset_has_a_raw_suite_and_every_model_its_own() -> None:
    demanded = [PROJECT.root / "expectations" / name / "raw.json" for name in PROJECT.datasets()]
    demanded += [PROJECT.root / "expectations" / PROJECT.model(name).dataset / f"{name}.json" for name in PROJECT.models()]

    assert [path for path in demanded if path not in SUITES] == []


def test_january_passes_and_february_fails_on_its_missing_departures_alone() -> None:
    january, february = month("2013-01"), month("2013-02")

    assert not january.blocked
    assert [(f.column, f.expectation) for f in february.findings if f.severity != "warning"] == [("dep_delay", "expect_column_values_to_not_be_null")]
    assert february.findings[0].observed == "5.05 % null (1,261 of 24,951)"


@pytest.mark.parametrize("column", UNITS)
def test_another_unit_in_a_good_month_blocks(column: str) -> None:
    found = month("2013-01", **{column: UNITS[column]})

    assert column in {f.column for f in found.findings if f.severity == "critical"}


@pytest.mark.slow
def test_every_month_of_the_year_passes_but_february() -> None:
    blocked = {f"2013-{number:02}": [f.column for f in month(f"2013-{number:02}").findings if f.severity != "warning"] for number in range(1, 13)}

    assert {name: columns for name, columns in blocked.items() if columns} == {"2013-02": ["dep_delay"]}
