"""A place of its own for each test."""

from pathlib import Path

import pytest
from standins import Place, make_place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)
