"""Cutting rows in time."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from tasks.errors import TrainingError
from tasks.spec import Gate
from tasks.training.split import split, thin, validation


def rows(times: "pd.DatetimeIndex") -> pd.DataFrame:
    return pd.DataFrame({"event_time": times})


def hourly(days: int) -> pd.DataFrame:
    return rows(pd.date_range("2024-01-01", periods=24 * days, freq="h"))


def test_the_hold_out_is_the_newest_whole_days() -> None:
    cut = split(hourly(30), Gate(metric="roc_auc", holdout_days=10), "toy")

    assert cut.cutoff == datetime(2024, 1, 20, 23, tzinfo=UTC), "time of the newest training row"
    assert cut.seen_until == datetime(2024, 1, 30, 23, tzinfo=UTC)
    assert cut.holdout["event_time"].min() == pd.Timestamp("2024-01-21")
    assert (len(cut.train), len(cut.holdout)) == (480, 240)


def test_without_days_the_hold_out_is_the_newest_share_of_the_rows() -> None:
    cut = split(hourly(10), Gate(metric="roc_auc", holdout_share=0.25), "toy")

    assert (len(cut.train), len(cut.holdout)) == (180, 60)


def test_rows_of_one_moment_stay_on_one_side() -> None:
    moments = pd.DatetimeIndex(["2024-01-01"] * 3 + ["2024-01-02"] * 6 + ["2024-01-03"])

    cut = split(rows(moments), Gate(metric="roc_auc", holdout_share=0.3), "toy")
    most = split(rows(moments), Gate(metric="roc_auc", holdout_share=0.8), "toy")

    assert len(cut.train) == len(most.train) == 3


@pytest.mark.parametrize("times", [pd.DatetimeIndex([]), pd.DatetimeIndex(["2024-01-01"] * 5), pd.date_range("2024-01-01", periods=1)])
def test_rows_that_cannot_be_cut_stop_training(times: "pd.DatetimeIndex") -> None:
    with pytest.raises(TrainingError):
        split(rows(times), Gate(metric="roc_auc"), "toy")
    with pytest.raises(TrainingError):
        split(rows(times), Gate(metric="roc_auc", holdout_days=10), "toy")


def test_validation_is_as_long_as_the_hold_out_but_at_most_a_third() -> None:
    train, gate = hourly(60), Gate(metric="roc_auc", holdout_days=10)

    long, short = (validation(frame, gate, 100_000, "toy") for frame in (train, train.head(24 * 12)))

    assert (len(long.train), len(long.holdout)) == (24 * 50, 24 * 10)
    assert (len(short.train), len(short.holdout)) == (24 * 8, 24 * 4)
    assert long.train["event_time"].max() < long.holdout["event_time"].min()


def test_a_search_fits_the_newest_rows_and_validates_on_all_days() -> None:
    cut = validation(hourly(60), Gate(metric="roc_auc", holdout_days=10), 100, "toy")

    assert (len(cut.train), len(cut.holdout)) == (100, 100)
    assert cut.train["event_time"].max() == pd.Timestamp("2024-02-19 23:00")
    assert cut.holdout["event_time"].dt.date.nunique() == 10


def test_thinning_keeps_the_ends_and_the_order() -> None:
    thinned = thin(pd.DataFrame({"n": range(1000)}), 11)

    assert thinned["n"].iloc[[0, -1]].tolist() == [0, 999]
    assert thinned["n"].is_monotonic_increasing
    assert len(thin(thinned, 50)) == 11


def test_no_training_row_is_later_than_the_cutoff_even_by_nanoseconds() -> None:
    times = pd.DatetimeIndex(["2024-01-01 00:00:00.000000001", "2024-01-01 00:00:00.000000999", "2024-01-02"])

    cut = split(rows(times), Gate(metric="roc_auc", holdout_share=0.3), "toy")

    assert cut.train["event_time"].max() <= pd.Timestamp(cut.cutoff).tz_localize(None)
