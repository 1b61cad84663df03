"""Insufficient, broken, decay, drift, stable: in this order. A broken window proposes nothing; k of the newest n windows propose."""

from datetime import timedelta
from typing import Any

import pytest
from served import HOLDOUT, VERSION, day

from tasks.ledger.rows import Finding, WindowRow
from tasks.monitoring.drift import Column, Drift
from tasks.monitoring.performance import Performance
from tasks.monitoring.verdict import Facts, alert, judge_window, proposal
from tasks.monitoring.window import Window, window_of
from tasks.spec import ModelSpec, Triggers

APRIL = Window("2013-04", day("2013-04-01"), day("2013-05-01"))
CRITICAL = Finding(expectation="expect_column_mean_to_be_between", column="distance", severity="critical", observed="1,676", expected="900 to 1,250")
STABLE = Drift((Column("temp", "number", "stable", 0.05, 0.1), Column("distance", "number", "stable", 0.02, 0.1)))
DRIFTED = Drift((Column("temp", "number", "drifted", 0.31, 0.1), Column("distance", "number", "stable", 0.02, 0.1)))
UNUSABLE = Drift((Column("temp", "number", "unusable", note="has no values in the window"), Column("distance", "number", "drifted", 0.2, 0.1)))
WELL = Performance("roc_auc", 1_900, HOLDOUT, 0.87, 0.85, 0.89)
DECAYED = Performance("roc_auc", 1_900, HOLDOUT, 0.7, 0.68, 0.72)
UNSURE = Performance("roc_auc", 1_900, HOLDOUT, 0.8, 0.75, 0.85)


def judged(spec: ModelSpec, window: Window = APRIL, version: str = VERSION, **facts: Any) -> WindowRow:
    known = {"drift": STABLE, "performance": WELL, "rows": 2_000, "labelled": 1_900} | facts
    return judge_window(Facts(window, version, clock=window.end, **known), spec)


def month(number: int) -> Window:
    return window_of(day(f"2013-{number:02}-01"), "month")


def test_a_quiet_window_is_stable_and_says_its_numbers(spec: ModelSpec) -> None:
    row = judged(spec)

    assert row.verdict == "stable"
    assert row.reason == "0 of 2 columns drift (a window drifts from 50% on); roc_auc 0.87 (0.85 to 0.89) on 1,900 labelled rows against 0.88 on the hold-out"
    assert row.drift == {"temp": (0.05, 0.1), "distance": (0.02, 0.1)}
    assert row.performance == {"reference": HOLDOUT, "value": 0.87, "low": 0.85, "high": 0.89}
    assert (row.share, row.event_time) == (0.0, day("2013-05-01"))
    assert proposal(row, [], spec, VERSION) is None
    assert alert(row, spec) == ""


def test_few_rows_are_insufficient_whatever_they_say(spec: ModelSpec) -> None:
    row = judged(spec, rows=499, blocked=True, findings=(CRITICAL,), drift=DRIFTED, performance=DECAYED)

    assert (row.verdict, row.reason) == ("insufficient", "499 rows, and at least 500 are needed")
    assert proposal(row, [], spec, VERSION) is None


def test_an_empty_window_is_insufficient(spec: ModelSpec) -> None:
    assert judged(spec, rows=0, labelled=0, drift=None, performance=None).verdict == "insufficient"


def test_rows_that_fail_their_suite_are_broken_and_propose_nothing(spec: ModelSpec) -> None:
    row = judged(spec, blocked=True, findings=(CRITICAL,), drift=DRIFTED, performance=DECAYED)

    assert row.verdict == "broken"
    assert "expect_column_mean_to_be_between of distance: found 1,676, expected 900 to 1,250" in row.reason
    assert row.findings == (CRITICAL,)
    assert proposal(row, [], spec, VERSION) is None
    assert alert(row, spec).startswith("Window 2013-04 of late is broken and proposes nothing: ")


def test_warnings_of_the_suite_do_not_break_a_window(spec: ModelSpec) -> None:
    warning = CRITICAL.model_copy(update={"severity": "warning"})

    row = judged(spec, findings=(warning,))

    assert (row.verdict, row.findings) == ("stable", (warning,))


def test_a_column_that_cannot_be_compared_breaks_the_window(spec: ModelSpec) -> None:
    row = judged(spec, drift=UNUSABLE, performance=DECAYED)

    assert (row.verdict, row.reason) == ("broken", "temp has no values in the window")
    assert row.findings[0].column == "temp"
    assert row.drift == {"distance": (0.2, 0.1)}
    assert proposal(row, [], spec, VERSION) is None


@pytest.mark.parametrize("drift", [STABLE, DRIFTED])
def test_performance_that_is_no_finite_number_breaks_the_window_and_alerts(spec: ModelSpec, drift: Drift) -> None:
    row = judged(spec, drift=drift, performance=Performance("mae", 1_900, 4.0, reason="mae is inf", unusable=True))

    assert (row.verdict, row.reason, row.performance) == ("broken", "mae is inf", {"reference": 4.0})
    assert proposal(row, [], spec, VERSION) is None
    assert alert(row, spec) == "Window 2013-04 of late is broken and proposes nothing: mae is inf."


def test_no_drift_report_is_never_no_drift(spec: ModelSpec) -> None:
    assert judged(spec, drift=None).verdict == "broken"


def test_decay_comes_before_drift(spec: ModelSpec) -> None:
    row = judged(spec, drift=DRIFTED, performance=DECAYED)
    proposed = proposal(row, [], spec, VERSION)

    assert row.verdict == "decay"
    assert row.reason.startswith("surely worse than on the hold-out by more than 0.05: roc_auc 0.7 (0.68 to 0.72)")
    assert proposed is not None
    assert (proposed.trigger, proposed.window, proposed.event_time) == ("decay", "2013-04", day("2013-05-01"))


def test_worse_but_unsure_is_not_decay(spec: ModelSpec) -> None:
    assert judged(spec, performance=UNSURE).verdict == "stable"


def test_half_of_the_columns_is_drift_and_proposes(spec: ModelSpec) -> None:
    row = judged(spec, drift=DRIFTED)
    proposed = proposal(row, [], spec, VERSION)

    assert row.verdict == "drift"
    assert "1 of 2 columns drift (a window drifts from 50% on), most of all temp at 3.1 times its threshold" in row.reason
    assert proposed is not None
    assert proposed.trigger == "drift"
    assert proposed.reason.startswith("drift in window 2013-04: 1 of 2 columns drift")


def test_a_jump_of_nulls_is_recorded_beside_the_scores(spec: ModelSpec) -> None:
    gaps = Drift((Column("temp", "number", "drifted", 0.05, 0.1, 0.5, 0.05, "50.0% missing, limit 5.0%"),))

    row = judged(spec, drift=gaps)

    assert row.drift == {"temp": (0.05, 0.1), "missing:temp": (0.5, 0.05)}
    assert "first of all temp (50.0% missing, limit 5.0%)" in row.reason


def test_performance_that_was_not_judged_says_why(spec: ModelSpec) -> None:
    assert judged(spec, performance=Performance("roc_auc", 3, HOLDOUT, reason="3 labels, and at least 200 are needed")).reason.endswith(
        "performance is not judged: 3 labels, and at least 200 are needed"
    )
    assert judged(spec, performance=None).reason.endswith("performance is not judged yet: labels are awaited")


def test_rows_of_other_versions_are_named(spec: ModelSpec) -> None:
    assert judged(spec, others=700).reason.endswith("; 700 rows that other versions answered are left out")


def test_a_spec_that_only_wants_alerts_gets_alerts(spec: ModelSpec) -> None:
    watching = spec.model_copy(update={"triggers": Triggers(drift="alert", decay="alert")})
    row = judged(watching, drift=DRIFTED)

    assert proposal(row, [], watching, VERSION) is None
    assert alert(row, watching).startswith("Drift in window 2013-04 of late: 1 of 2 columns drift")


def test_drift_under_a_decay_that_only_alerts_still_proposes(spec: ModelSpec) -> None:
    mixed = spec.model_copy(update={"triggers": Triggers(drift="retrain", decay="alert")})

    proposed = proposal(judged(mixed, drift=DRIFTED, performance=DECAYED), [], mixed, VERSION)

    assert proposed is not None
    assert proposed.trigger == "drift"


@pytest.mark.parametrize(
    ("drifts", "proposes"), [([False, False, True], False), ([True, False, True], True), ([True, True, False], False), ([True, False, False, True], False)]
)
def test_k_of_the_newest_n_windows_propose(drifts: list[bool], proposes: bool, spec: ModelSpec) -> None:
    twice = spec.model_copy(update={"triggers": Triggers(drift="retrain", k=2, n=3)})
    windows = [judged(twice, month(4 + i), drift=DRIFTED if drifted else STABLE) for i, drifted in enumerate(drifts)]

    proposed = proposal(windows[-1], windows[:-1], twice, VERSION)

    assert (proposed is not None) == proposes
    if proposed:
        assert "(2 of the last 3 windows: 2013-04, 2013-06)" in proposed.reason


def test_broken_and_insufficient_windows_do_not_count_among_the_n(spec: ModelSpec) -> None:
    twice = spec.model_copy(update={"triggers": Triggers(drift="retrain", k=2, n=2)})
    before = [judged(twice, month(4), drift=DRIFTED), judged(twice, month(5), drift=DRIFTED, blocked=True), judged(twice, month(6), rows=3)]

    assert proposal(judged(twice, month(7), drift=DRIFTED), before, twice, VERSION) is not None


def test_windows_of_an_earlier_version_do_not_count(spec: ModelSpec) -> None:
    twice = spec.model_copy(update={"triggers": Triggers(drift="retrain", k=2, n=2)})
    before = [judged(twice, month(4), version="20130101-bbbbbbbb", drift=DRIFTED)]

    assert proposal(judged(twice, month(5), drift=DRIFTED), before, twice, VERSION) is None


def test_a_window_of_a_version_that_is_no_longer_live_proposes_nothing(spec: ModelSpec) -> None:
    assert proposal(judged(spec, drift=DRIFTED), [], spec, "20130501-cccccccc") is None


def test_a_window_proposes_the_same_once(spec: ModelSpec) -> None:
    row = judged(spec, drift=DRIFTED)

    assert proposal(row, [row], spec, VERSION, {("drift", "2013-04")}) is None
    assert proposal(row, [row], spec, VERSION, {("drift", "2013-03"), ("decay", "2013-04")}) is not None


def test_a_second_judgement_replaces_the_first(spec: ModelSpec) -> None:
    twice = spec.model_copy(update={"triggers": Triggers(drift="retrain", k=2, n=2)})
    first = judged(twice, drift=DRIFTED, performance=None)

    assert proposal(judged(twice, drift=DRIFTED), [first], twice, VERSION) is None


def test_later_windows_do_not_count_for_an_earlier_one(spec: ModelSpec) -> None:
    twice = spec.model_copy(update={"triggers": Triggers(drift="retrain", k=2, n=2)})
    later = judged(twice, month(6), drift=DRIFTED)

    assert later.start - APRIL.start > timedelta(days=31)
    assert proposal(judged(twice, drift=DRIFTED), [later], twice, VERSION) is None
