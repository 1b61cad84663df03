"""Pictures are small, valid SVG whatever the numbers and names are."""

from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tasks.monitoring.charts import Bar, Point, distribution, line, ratios, sparkline

HOSTILE = '<script>alert("x")</script> & \x07\ud800'
SVG = "{http://www.w3.org/2000/svg}"


def parsed(uri: str) -> ElementTree.Element:
    """The picture behind a data URI; raises when a browser would not draw it."""
    head, _, body = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    assert len(uri) < 30_000
    svg = b64decode(body).decode()
    assert "NaN" not in svg.replace("NaN%", "")
    assert "nan" not in svg
    assert "inf" not in svg
    return ElementTree.fromstring(svg)


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def points(values: list[float]) -> list[Point]:
    return [Point(f"2013-{i:02}", value, value > 0.5, value - 0.1, value + 0.1) for i, value in enumerate(values, 1)]


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.6], [0.5] * 40, [0.0, 0.0], [-3.0, 5.0], [1e-9, 2e-9], [1e12, 2e12]])
def test_any_values_give_a_line(values: list[float]) -> None:
    assert len(list(parsed(line(points(values), 0.5, "title")).iter(f"{SVG}circle"))) == len(values)
    assert len(list(parsed(sparkline(points(values), 0.5)).iter(f"{SVG}circle"))) == len(values)


def test_an_axis_has_round_numbers_and_at_most_ten_labels() -> None:
    shown = texts(parsed(line(points([0.1 + 0.01 * i for i in range(40)]), 0.5, "title", form=".0%")))

    assert {"0%", "20%", "40%", "60%"} <= set(shown)
    assert sum(text.startswith("2013-") for text in shown) == 10
    assert "2013-40" in shown


def test_bars_over_the_threshold_stand_out_and_long_ones_are_cut() -> None:
    bars = [Bar("temp", 31.0, "3.100 of 0.100", True), Bar("dest", 0.4, "0.040 of 0.100", False), Bar("gone", float("inf"), "has no values", True)]

    svg = parsed(ratios(bars, "scores"))

    assert {"temp", "dest", "gone", "threshold", "3.100 of 0.100"} <= set(texts(svg))
    assert max(float(rect.get("width", "0")) for rect in svg.iter(f"{SVG}rect")) == 760


def test_no_bars_are_no_crash() -> None:
    parsed(ratios([], "scores"))


@pytest.mark.parametrize("values", [[1.0], [5.0] * 50, list(np.linspace(-1e9, 1e9, 500)), [0.0, 1.0]])
def test_any_numbers_give_a_histogram(values: list[float]) -> None:
    parsed(distribution("x", pd.Series(values), pd.Series([*values, np.nan])))


def test_a_category_that_moved_is_drawn_among_many() -> None:
    many = pd.Series([f"v{i % 50}" for i in range(1_000)])

    shown = texts(parsed(distribution("dest", many, pd.concat([many, pd.Series(["new"] * 300 + [""] * 200)]))))

    assert {"new", "(none)", "20.0%"} <= set(shown)
    assert sum(text.endswith("%") for text in shown) == 8


def test_names_and_categories_cannot_break_out_of_the_picture() -> None:
    for uri in (
        distribution(HOSTILE, pd.Series([HOSTILE, "a"]), pd.Series([HOSTILE])),
        distribution(HOSTILE, pd.Series([1.0, 2.0]), pd.Series([1.0])),
        ratios([Bar(HOSTILE, 1.0, HOSTILE, True)], HOSTILE),
        line([Point(HOSTILE, 1.0, False)], 1.0, HOSTILE, HOSTILE),
    ):
        assert not list(parsed(uri).iter(f"{SVG}script"))
