"""Faults do to the rows what they say, and a dataset without drills says so."""

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from expectations.flights.source import load
from tasks.errors import UnknownNameError
from tasks.project import Project
from tasks.replay.faults import spoil


def test_a_concept_change_moves_outcomes_of_the_morning_and_no_input() -> None:
    raw = load(datetime(2013, 6, 1), datetime(2013, 6, 3))

    changed = spoil(raw, "flights", "concept_change")

    morning = raw["scheduled"].dt.hour < 10
    assert ((changed["arr_delay"] - raw["arr_delay"])[morning].dropna() == 40).all()
    pd.testing.assert_frame_equal(changed[~morning], raw[~morning])
    pd.testing.assert_frame_equal(changed.drop(columns="arr_delay"), raw.drop(columns="arr_delay"))


def test_a_unit_change_touches_one_feature_only() -> None:
    features = pd.DataFrame({"distance": [100, 2_475], "carrier": ["UA", "B6"]})

    assert spoil(features, "flights", "unit_change")["distance"].tolist() == [161, 3983]
    assert features["distance"].tolist() == [100, 2_475], "the caller's frame is left as it was"


def test_a_dataset_without_drills_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "expectations" / "bare_rows").mkdir(parents=True)
    (tmp_path / "expectations" / "bare_rows" / "__init__.py").touch()
    Project(tmp_path)

    with pytest.raises(UnknownNameError, match=r"expectations/bare_rows/drills\.py.*no drill 'unit_change'"):
        spoil(pd.DataFrame(), "bare_rows", "unit_change")
