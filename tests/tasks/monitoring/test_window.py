"""A window closes by the data's clock or because all its labels are there, and is judged once for each reason."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from served import VERSION, day, draw, send, write_labels, write_predictions

from tasks.ledger.rows import WindowRow
from tasks.monitoring.log import read
from tasks.monitoring.window import Period, Window, closed, complete, watermark, window_of
from tasks.spec import ModelSpec

DELAY = timedelta(days=1)
SLOW = timedelta(days=45)


def names(folder: Path, spec: ModelSpec, delay: timedelta = DELAY, judged: tuple[WindowRow, ...] = ()) -> list[str]:
    logs = read(folder, spec, delay, [row.window for row in judged if row.final])
    return [window.name for window in closed(logs, spec.monitoring.window, delay, judged)]


def row(window: str, performance: dict[str, float] | None = None, **changed: object) -> WindowRow:
    facts = {"start": day("2013-04-01"), "end": day("2013-05-01"), "rows": 100, "verdict": "stable", "reason": "all well"} | changed
    return WindowRow.model_validate({"model": "late", "version": VERSION, "window": window, "performance": performance or {}, **facts})


@pytest.mark.parametrize(
    ("period", "moment", "window"),
    [
        ("month", "2013-12-31T23:59:59", Window("2013-12", day("2013-12-01"), day("2014-01-01"))),
        ("week", "2013-04-07T23:59:59", Window("2013-W14", day("2013-04-01"), day("2013-04-08"))),
        ("week", "2012-12-31T00:00:00", Window("2013-W01", day("2012-12-31"), day("2013-01-07"))),
        ("day", "2013-04-03T00:00:00", Window("2013-04-03", day("2013-04-03"), day("2013-04-04"))),
    ],
)
def test_windows_are_named_by_month_iso_week_and_day(period: Period, moment: str, window: Window) -> None:
    assert window_of(datetime.fromisoformat(moment), period) == window


@pytest.mark.parametrize("period", ["month", "week", "day"])
def test_the_log_names_windows_as_the_calendar_does(period: Period, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2012-12-25"), 14, 50))
    logs = read(tmp_path, spec.model_copy(update={"monitoring": spec.monitoring.model_copy(update={"window": period})}), DELAY, [])

    assert logs.answers["window"].tolist() == [window_of(moment.to_pydatetime(), period).name for moment in logs.answers["event_time"]]


def test_the_clock_is_unknown_until_two_times_are_known() -> None:
    assert watermark(np.array([], "M8[ns]")) is None
    assert watermark(np.array(["2013-04-01"], "M8[ns]")) is None
    assert watermark(np.array(["2013-04-01", "2013-04-02"], "M8[ns]")) == datetime(2013, 4, 1, tzinfo=UTC)


def test_a_window_closes_when_the_clock_has_passed_its_end_and_the_label_delay(tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30.9, 1_000))
    assert names(tmp_path, spec) == []

    write_predictions(tmp_path, draw(day("2013-05-01"), 3, 300), prefix="may")
    assert names(tmp_path, spec) == ["2013-04"]


@pytest.mark.parametrize("strays", [1, 5])
def test_times_from_the_far_future_close_nothing(strays: int, tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 20, 1_000))
    write_predictions(tmp_path, draw(day("2031-01-01"), 20, strays), prefix="stray")

    assert names(tmp_path, spec) == []


def test_one_far_future_time_given_to_many_rows_closes_nothing(tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 20, 1_000))
    write_predictions(tmp_path, draw(day("2013-04-01"), 20, 1_000), prefix="stray", event_time="2031-01-01T00:00:00Z")

    assert names(tmp_path, spec) == []


def test_rows_in_any_order_close_the_same_windows(tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 40, 2_000)
    write_predictions(tmp_path, frame.sample(frac=1, random_state=0))

    assert names(tmp_path, spec) == ["2013-04"]


def test_a_replayed_month_closes_when_its_last_labels_arrive(tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 30, 2_000)
    ids = write_predictions(tmp_path, frame)
    times = [(time + DELAY).isoformat() for time in frame["event_time"]]
    write_labels(tmp_path, ids[:1_600], [True] * 1_600, times[:1_600])
    assert names(tmp_path, spec) == []

    write_labels(tmp_path, ids[1_600:], [True] * 400, times[1_600:])
    assert names(tmp_path, spec) == ["2013-04"]


def test_rows_that_never_get_a_label_do_not_keep_a_month_open(tmp_path: Path, spec: ModelSpec) -> None:
    frame = draw(day("2013-04-01"), 30, 2_000)
    ids = write_predictions(tmp_path, frame)
    cancelled = np.random.default_rng(0).random(2_000) < 0.05
    kept = [i for i in range(2_000) if not cancelled[i]]
    write_labels(tmp_path, [ids[i] for i in kept], [True] * len(kept), [(frame["event_time"][i] + DELAY).isoformat() for i in kept])

    assert names(tmp_path, spec) == ["2013-04"]


def test_a_month_that_is_labelled_up_to_now_but_not_over_stays_open(tmp_path: Path, spec: ModelSpec) -> None:
    send(tmp_path, draw(day("2013-04-01"), 20, 2_000))

    assert names(tmp_path, spec) == []


def test_labels_due_within_a_window_length_are_waited_for_and_slower_ones_are_not(tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 30.5, 2_000))

    assert names(tmp_path, spec, timedelta(days=1)) == []
    assert names(tmp_path, spec, SLOW) == ["2013-04"]


def test_slow_labels_make_a_second_judgement(tmp_path: Path, spec: ModelSpec) -> None:
    write_predictions(tmp_path, draw(day("2013-04-01"), 40, 2_000))
    assert names(tmp_path, spec, SLOW) == ["2013-04"]
    first = row("2013-04")
    assert names(tmp_path, spec, SLOW, (first,)) == []

    write_predictions(tmp_path, draw(day("2013-05-11"), 50, 2_000), prefix="more")
    assert names(tmp_path, spec, SLOW, (first,)) == ["2013-04", "2013-05"]
    assert names(tmp_path, spec, SLOW, (first, row("2013-04", {"reference": 0.8}))) == ["2013-05"]


def test_what_is_settled_is_not_judged_again() -> None:
    assert row("2013-04", {"reference": 0.8, "value": 0.8, "low": 0.7, "high": 0.9}).final
    assert row("2013-04", {"reference": 0.8}).final
    assert row("2013-04", verdict="insufficient").final
    assert row("2013-04", verdict="broken").final
    assert not row("2013-04").final


def test_several_windows_close_oldest_first(tmp_path: Path, spec: ModelSpec) -> None:
    send(tmp_path, draw(day("2013-04-01"), 91, 3_000))

    assert names(tmp_path, spec) == ["2013-04", "2013-05", "2013-06"]


def test_a_window_with_labels_on_the_old_rows_only_is_not_complete() -> None:
    window = Window("2013-04", day("2013-04-01"), day("2013-05-01"))
    rows = pd.DataFrame({"event_time": draw(day("2013-04-01"), 30, 1_000)["event_time"], "label": [1.0] * 930 + [None] * 70})

    assert not complete(window, rows, None, DELAY)
    assert complete(window, rows.assign(label=1.0), None, DELAY)
    assert complete(window, rows, day("2013-05-03"), DELAY)
