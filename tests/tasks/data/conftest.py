"""Dataset folders and suites of the tests of data, small and written on the spot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.data.suite import Suite, load_suite
from tasks.spec import DatasetSpec

ROWS = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "expectations" / "rides"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def dataset(folder: Path) -> Callable[..., DatasetSpec]:
    """Makes the spec of a dataset whose folder is empty."""

    def make(**facts: Any) -> DatasetSpec:
        return DatasetSpec(name="rides", folder=folder, **{"time": "at", "period": "month"} | facts)

    return make


@pytest.fixture
def suite(folder: Path) -> Callable[..., Suite]:
    """Writes entries, with a row count before them, as a suite and loads it strictly."""

    def make(*entries: dict[str, Any]) -> Suite:
        path = folder / "raw.json"
        path.write_text(json.dumps({"name": "rides_raw", "expectations": [ROWS, *entries]}))
        return load_suite(path)

    return make
