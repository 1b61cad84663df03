"""One project of live models for all tests of a session, and files of its rows."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from trained import rides, train_all

from tasks.installation import Installation


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return train_all(tmp_path_factory.mktemp("rides"))


@pytest.fixture
def rows(here: Installation) -> pd.DataFrame:
    """Feature rows that no model has seen, with a key of the caller's own and odd values among them."""
    raw = rides(60, seed=5)
    frame = here.project.pipeline("rides_late").features(raw)
    frame.insert(0, "ride", raw["ride"])
    frame.loc[3, "city"], frame.loc[4, "km"] = "new, and far", 9_999.5
    return frame


@pytest.fixture
def file(tmp_path: Path) -> Callable[[pd.DataFrame, str], str]:
    """Writes a frame as .csv or .parquet, and gives its path."""

    def write(frame: pd.DataFrame, suffix: str) -> str:
        path = tmp_path / f"in{suffix}"
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path, index=False)
        return str(path)

    return write


@pytest.fixture
def read() -> Callable[[str], pd.DataFrame]:
    """Reads what was written; keys stay text."""
    return lambda path: (
        pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path, dtype={"ride": str, "error": object}, float_precision="round_trip")
    )
