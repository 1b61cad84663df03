"""Closed windows of a real log, judged against a real ledger and store."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from s3 import Bucket
from served import HOLDOUT, VERSION, day, draw, send, version_row, write_predictions

from tasks.errors import StoreError, UnknownNameError
from tasks.ledger.chain import Ledger
from tasks.ledger.rows import Finding, ReleaseRow
from tasks.monitoring.judge import Judged, judge
from tasks.settings import Settings
from tasks.spec import ModelSpec
from tasks.store import Ref, Store

CRITICAL = Finding(expectation="expect_column_mean_to_be_between", column="distance", severity="critical", observed="1,676", expected="900 to 1,250")


def holds(frame: pd.DataFrame) -> tuple[bool, tuple[Finding, ...]]:
    """A suite that holds of every window."""
    assert list(frame.columns) == ["distance", "temp", "weekend", "carrier", "prediction"]
    return False, ()


def run(spec: ModelSpec, settings: Settings, ledger: Ledger, validate_rows=holds) -> list[Judged]:  # type: ignore[no-untyped-def]  # as judge takes it
    return judge(spec, settings, Store.of(settings), ledger.read(), validate_rows)


def test_a_window_like_the_reference_is_stable(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1))

    (judged,) = run(spec, settings, ledger)

    assert (judged.row.verdict, judged.row.window, judged.row.rows, judged.row.labelled) == ("stable", "2013-04", 2_000, 2_000)
    assert judged.row.performance["value"] == pytest.approx(HOLDOUT, abs=0.03)
    assert set(judged.row.drift) == {"distance", "temp", "weekend", "carrier", "prediction"}
    assert (judged.proposal, judged.alert) == (None, "")


def test_the_report_is_shown_and_kept(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1))

    (judged,) = run(spec, settings, ledger)

    assert judged.report == f"late/2013-04-{VERSION}.html"
    assert (settings.reports / judged.report).read_bytes() == Store.of(settings).get(Ref.parse(judged.row.report))
    assert (settings.reports / judged.report).with_suffix(".json").exists()
    assert f"http://127.0.0.1:4201/late/2013-04-{VERSION}.html" in judged.page


def test_the_report_goes_to_the_url_that_is_set_and_its_link_to_the_address_that_people_reach(
    spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path, s3: Bucket
) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1))
    there = settings.model_copy(update={"report_url": f"{s3.url}/reports", "public_reports_url": "https://reports.example.com/"})

    (judged,) = run(spec, there, ledger)

    assert (s3.folder / "reports" / "late" / f"2013-04-{VERSION}.html").read_bytes() == Store.of(settings).get(Ref.parse(judged.row.report))
    assert f"(https://reports.example.com/late/2013-04-{VERSION}.html)" in judged.page
    assert not settings.reports.exists()


def test_a_window_is_judged_once(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1))
    ledger.append(*(judged.row for judged in run(spec, settings, ledger)))
    send(folder, draw(day("2013-05-01"), 10, 700), "may")

    assert run(spec, settings, ledger) == []


def test_drift_proposes_and_a_changed_concept_decays(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1, shift=0.8), "april")
    send(folder, draw(day("2013-05-01"), 31, 2_000, seed=2, informative=False), "may")

    april, may = run(spec, settings, ledger)

    assert april.row.verdict == "drift"
    assert april.proposal is not None
    assert (april.proposal.trigger, april.proposal.window) == ("drift", "2013-04")
    assert may.row.verdict == "decay"
    assert may.proposal is not None
    assert may.proposal.trigger == "decay"
    assert may.row.event_time is not None
    assert day("2013-05-30") < may.row.event_time < day("2013-06-02")


def test_rows_that_fail_their_suite_propose_nothing_and_alert(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1, shift=0.8, informative=False))

    (judged,) = run(spec, settings, ledger, lambda frame: (True, (CRITICAL,)))

    assert judged.row.verdict == "broken"
    assert judged.row.findings == (CRITICAL,)
    assert (judged.proposal, judged.report, judged.row.drift) == (None, "", {})
    assert "is broken and proposes nothing" in judged.alert


def test_few_rows_are_insufficient_and_the_suite_is_not_asked(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 100))

    (judged,) = run(spec, settings, ledger, lambda frame: pytest.fail("asked"))

    assert judged.row.verdict == "insufficient"


def test_an_all_null_column_is_broken_even_when_the_suite_holds(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1).assign(temp=None))

    (judged,) = run(spec, settings, ledger)

    assert (judged.row.verdict, judged.row.reason) == ("broken", "temp has no values in the window")


def test_a_window_of_one_class_is_judged_for_drift_and_says_why_not_for_performance(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1).assign(label=False))

    (judged,) = run(spec, settings, ledger)

    assert judged.row.verdict == "stable"
    assert "performance is not judged: all 2,000 labels are false" in judged.row.reason
    ledger.append(judged.row)
    assert run(spec, settings, ledger) == []


def test_the_version_that_answered_most_is_judged_and_the_reason_says_so(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    store, newer = Store.of(settings), "20130415-bbbbbbbb"
    ledger.append(
        version_row(spec, store, newer, "late-2"), ReleaseRow(model="late", release="2", version=newer, step="live", reason="better", previous=VERSION)
    )
    send(folder, draw(day("2013-04-01"), 20, 1_400, seed=1, shift=0.8), "old")
    send(folder, draw(day("2013-04-21"), 10, 600, seed=2, shift=0.8), "new", newer)

    (judged,) = run(spec, settings, ledger)

    assert (judged.row.version, judged.row.rows) == (VERSION, 1_400)
    assert judged.row.reason.endswith("; 600 rows that other versions answered are left out")
    assert judged.row.verdict == "drift"
    assert judged.proposal is None


def test_slow_labels_are_judged_when_they_have_come(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    dataset = settings.project / "expectations" / "flights" / "dataset.toml"
    dataset.write_text("label_delay_days = 40.0\n")
    april = draw(day("2013-04-01"), 30, 2_000, seed=1, informative=False)
    write_predictions(folder, april, prefix="april")
    write_predictions(folder, draw(day("2013-05-01"), 5, 400), prefix="may")

    (first,) = run(spec, settings, ledger)
    ledger.append(first.row)
    send(folder, april, "april", delay=timedelta(days=30))
    (second,) = run(spec, settings, ledger)

    assert (first.row.verdict, first.row.labelled, first.row.performance) == ("stable", 0, {})
    assert first.row.reason.endswith("performance is not judged yet: labels are awaited")
    assert (second.row.verdict, second.row.labelled) == ("decay", 2_000)


def test_nothing_is_judged_while_nothing_is_live(spec: ModelSpec, settings: Settings, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000))

    assert run(spec, settings, Ledger.of(settings)) == []


def test_a_version_the_ledger_does_not_know_is_an_error_by_name(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000), version="20130101-ffffffff")

    with pytest.raises(UnknownNameError, match="20130101-ffffffff"):
        run(spec, settings, ledger)


def test_a_lost_reference_is_an_error_and_not_no_drift(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    send(folder, draw(day("2013-04-01"), 30, 2_000))
    for path in (settings.root / "store").rglob("*.parquet"):
        path.unlink()

    with pytest.raises(StoreError, match="missing"):
        run(spec, settings, ledger)


def test_evidently_is_not_imported_before_a_window_has_closed() -> None:
    code = "import sys, tasks.monitoring.judge; sys.exit(any(name.split('.')[0] in {'evidently', 'scipy', 'sklearn'} for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
