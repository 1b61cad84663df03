"""Rows are sent as a service would send them: typed, in event order, nulls as null."""

import json

import pandas as pd

from bentos.runtime.contract import Contract, Feature
from tasks.replay.request_rows import due_seconds, request_rows, sample

CONTRACT = Contract(
    name="late",
    task="binary",
    features={
        "seats": Feature(type="integer", nullable=True),
        "temp": Feature(type="number"),
        "carrier": Feature(type="category"),
        "holiday": Feature(type="boolean"),
    },
)


def test_values_have_the_contracts_types_and_nulls_stay_null() -> None:
    features = pd.DataFrame({"seats": [180.0, None], "temp": [40.5, 41.0], "carrier": ["UA", "B6"], "holiday": [True, False]})
    times = pd.Series(pd.to_datetime(["2013-04-01 05:15", "2013-04-01 05:29"]))

    sent = [json.loads(row) for row in request_rows(features, CONTRACT, times)]

    assert sent[0] == {"seats": 180, "temp": 40.5, "carrier": "UA", "holiday": True, "event_time": "2013-04-01T05:15:00Z"}
    assert sent[1]["seats"] is None


def test_a_sample_keeps_first_last_and_order() -> None:
    taken = sample(pd.DataFrame({"n": range(1_000)}), 100)["n"].tolist()

    assert (len(taken), taken[0], taken[-1]) == (100, 0, 999)
    assert taken == sorted(taken)
    assert len(sample(pd.DataFrame({"n": range(10)}), 100)) == 10


def test_rows_are_due_as_the_datas_clock_runs() -> None:
    times = pd.Series(pd.to_datetime(["2013-04-01", "2013-04-02", "2013-04-11"]))

    assert due_seconds(times, days_per_second=2) == [0.0, 0.5, 5.0]
    assert due_seconds(times, days_per_second=0) == []
