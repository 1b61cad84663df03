"""The page says the verdict first, is small, and shows foreign text as text."""

import pandas as pd
import pytest
from served import HOLDOUT, VERSION, day

from tasks.ledger.rows import Finding, WindowRow
from tasks.monitoring.drift import Column, Drift
from tasks.monitoring.page import Evidence, description, escaped, markdown
from tasks.monitoring.performance import Performance
from tasks.monitoring.verdict import Facts, judge_window
from tasks.monitoring.window import window_of
from tasks.spec import ModelSpec

HOSTILE = "</td> | [click](http://evil) `x` ![](http://evil/p.png)\n# heading"
VALUES = pd.Series([float(i) for i in range(100)])
DRIFT = Drift(
    tuple(Column(f"n{i}", "number", "drifted" if i < 9 else "stable", 0.9 / (i + 1), 0.1) for i in range(40)),
    {f"n{i}": (VALUES, VALUES + 50) for i in range(40)},
)


def row(spec: ModelSpec, month: int = 4, **facts: object) -> WindowRow:
    known = {"rows": 2_000, "labelled": 1_900, "drift": DRIFT, "performance": Performance("roc_auc", 1_900, HOLDOUT, 0.87, 0.85, 0.89)} | facts
    window = window_of(day(f"2013-{month:02}-01"), "month")
    return judge_window(Facts(window, VERSION, clock=window.end, **known), spec)  # type: ignore[arg-type]  # facts of a test


def test_the_page_shows_verdict_table_pictures_link_and_performance(spec: ModelSpec) -> None:
    now = row(spec)

    page = markdown(now, [], spec, Evidence(DRIFT, "http://127.0.0.1:4201/late/2013-04-x.html", 7, 3))

    assert page.startswith("# 🟢 late 2013-04: stable\n\n9 of 40 columns drift (a window drifts from 50% on)")
    assert "| n0 | 0.900 | 0.100 | 9.000 | 0.0% | **drifted** |" in page
    assert "[Evidently's own report of this window](http://127.0.0.1:4201/late/2013-04-x.html)" in page
    assert "roc_auc **0.87** (0.85 to 0.89, at 95% each) on 1,900 labelled rows; 0.88 on the hold-out." in page
    assert "7 lines could not be read and 3 labels name no row" in page
    assert page.count("data:image/svg+xml;base64,") == 1 + 6 + 1 + 1


def test_the_page_stays_far_below_what_the_ui_downloads_at_once(spec: ModelSpec) -> None:
    many = [row(spec, month) for month in range(1, 13)]

    assert len(markdown(many[-1], many[:-1], spec, Evidence(DRIFT))) < 100_000
    assert len(description(many[-1], many[:-1], spec)) < 5_000


def test_the_card_says_the_verdict_and_draws_the_trend(spec: ModelSpec) -> None:
    card = description(row(spec), [row(spec, 3)], spec)

    assert card.startswith("🟢 **2013-04: stable** 9 of 40 columns drift")
    assert "![trend](data:image/svg+xml;base64," in card


def test_a_decayed_window_draws_its_performance(spec: ModelSpec) -> None:
    decayed = row(spec, performance=Performance("roc_auc", 1_900, HOLDOUT, 0.7, 0.68, 0.72))

    assert description(decayed, [], spec).startswith("🔴 **2013-04: decay** surely worse")
    assert description(decayed, [], spec) != description(row(spec), [], spec)


def test_a_broken_window_shows_what_did_not_hold(spec: ModelSpec) -> None:
    finding = Finding(expectation="expect_column_mean_to_be_between", column="distance", severity="critical", observed="1,676", expected="900 to 1,250")
    broken = row(spec, drift=None, performance=None, blocked=True, findings=(finding,) * 30)

    page = markdown(broken, [], spec, Evidence())

    assert page.startswith("# 🔴 late 2013-04: broken")
    assert "| critical | distance | expect\\_column\\_mean\\_to\\_be\\_between | 1,676 | 900 to 1,250 |" in page
    assert "… and 10 more." in page
    assert "data:image" not in page


def test_an_insufficient_window_has_a_page(spec: ModelSpec) -> None:
    assert "3 rows, and at least 500 are needed" in markdown(row(spec, rows=3, labelled=0, drift=None, performance=None), [], spec, Evidence())


@pytest.mark.parametrize("text", [HOSTILE, "a" * 1_000, "<img src=x onerror=alert(1)>", "\\| \\"])
def test_foreign_text_neither_ends_a_cell_nor_becomes_markup(text: str) -> None:
    shown = escaped(text)

    bare = shown.replace("\\\\", "")
    assert len(shown) <= 400
    assert "\n" not in shown
    assert all(bare[i - 1] == "\\" for i, c in enumerate(bare) if c in "|[]<>`!#")
