"""Small pictures for artifacts: SVG as data URIs, the one form that both Prefect UIs draw. White cards, readable in light and dark themes."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
BLUE, RED, ORANGE, GREY, INK, PALE = "#2563eb", "#dc2626", "#c2410c", "#6b7280", "#111827", "#e5e7eb"
WIDTH = 760
SIDE, LOW = 370, 192  # of a distribution; two stand beside each other


@dataclass(frozen=True)
class Bar:
    """One row of the picture of ratios."""

    name: str
    ratio: float
    text: str
    over: bool


@dataclass(frozen=True)
class Point:
    """One value of a line. `bad` points are orange; `low` and `high` are the ends of a whisker."""

    label: str
    value: float
    bad: bool
    low: float | None = None
    high: float | None = None


def line(points: Sequence[Point], limit: float, title: str, limit_name: str = "limit", form: str = ".3g") -> str:
    """Values over time and their limit (dashed). `form` formats the numbers of the axis."""
    height, left, right, top, bottom = 230, 56, 24, 44, 30
    ticks = _ticks([value for point in points for value in (point.value, point.low, point.high) if value is not None] + [limit])

    def x(i: int) -> float:
        return left + (i + 0.5) * (WIDTH - left - right) / len(points)

    def y(value: float) -> float:
        return height - bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (height - top - bottom)

    parts = [_text(16, 24, title, 14, weight=600), _text(WIDTH - right, 24, f"- - - {limit_name} {limit:{form}}", 11, "end", RED)]
    for tick in ticks:
        parts += [f'<path d="M{left} {y(tick):.1f}H{WIDTH - right}" stroke="{PALE}"/>', _text(left - 8, y(tick) + 4, f"{tick:{form}}", 11, "end", GREY)]
    parts.append(f'<path d="M{left} {y(limit):.1f}H{WIDTH - right}" stroke="{RED}" stroke-dasharray="6 4"/>')
    parts += [_whisker(x(i), y(p.low), y(p.high)) for i, p in enumerate(points) if p.low is not None and p.high is not None]
    parts.append(_polyline([(x(i), y(point.value)) for i, point in enumerate(points)]))
    parts += [_dot(x(i), y(point.value), 4, point.bad) for i, point in enumerate(points)]
    every = ceil(len(points) / 10)  # ten labels fit below
    parts += [_text(x(i), height - 10, point.label, 11, "middle", GREY) for i, point in enumerate(points) if (len(points) - 1 - i) % every == 0]
    return _uri(WIDTH, height, parts)


def sparkline(points: Sequence[Point], limit: float) -> str:
    """The same without words, for the card of a run."""
    width, height, edge = 320, 70, 10
    values = [point.value for point in points] + [limit]
    low, span = min(values), (max(values) - min(values)) or 1.0
    ys = [height - edge - (value - low) / span * (height - 2 * edge) for value in values]
    xs = [edge + (i + 0.5) * (width - 2 * edge) / len(points) for i in range(len(points))]
    parts = [f'<path d="M{edge} {ys[-1]:.1f}H{width - edge}" stroke="{RED}" stroke-dasharray="5 4"/>', _polyline(list(zip(xs, ys, strict=False)))]
    return _uri(width, height, parts + [_dot(x, y, 3.5, point.bad) for x, y, point in zip(xs, ys, points, strict=False)])


def ratios(bars: Sequence[Bar], title: str) -> str:
    """Score of each column in units of its own threshold, in the order given; the dashed line is the threshold of all. Long bars end in an arrow."""
    row, left, right, top = 22, 190, 150, 60
    height, span, thick = top + row * len(bars) + 12, WIDTH - left - right, row - 8
    scale = min(max([2.0, *(bar.ratio * 1.05 for bar in bars if isfinite(bar.ratio))]), 6.0)
    mark = left + span / scale
    parts = [_text(16, 24, title, 14, weight=600), _text(mark, top - 8, "threshold", 11, "middle", RED)]
    for i, bar in enumerate(bars):
        y, colour = top + i * row + 3, ORANGE if bar.over else BLUE
        length = span * min(bar.ratio, scale) / scale if isfinite(bar.ratio) else 0.0
        parts.append(f'<rect x="{left}" y="{y}" width="{span}" height="{thick}" fill="#f3f4f6"/>')
        parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{thick}" fill="{colour}"/>')
        if isfinite(bar.ratio) and bar.ratio > scale:
            parts.append(f'<path d="M{left + span} {y}l8 {thick / 2:g}l-8 {thick / 2:g}z" fill="{colour}"/>')
        parts.append(_text(left - 10, y + 12, _short(bar.name, 26), 12, "end", weight=600 if bar.over else 400))
        parts.append(_text(left + span + 14, y + 12, _short(bar.text, 22), 12, fill=ORANGE if bar.over else GREY))
    parts.append(f'<path d="M{mark:.1f} {top - 2}V{height - 10}" stroke="{RED}" stroke-width="1.5" stroke-dasharray="5 4"/>')
    return _uri(WIDTH, height, parts)


def distribution(name: str, reference: pd.Series, current: pd.Series) -> str:
    """How a column is distributed in the reference (blue) and in the window (orange): histograms of a number, bars of the eight most telling categories."""
    reference, current = reference.dropna(), current.dropna()
    if pd.api.types.is_numeric_dtype(reference):
        return _histograms(name, reference.to_numpy(float), current.to_numpy(float))
    return _categories(name, reference, current)


def _histograms(name: str, reference: Array, current: Array, bins: int = 30) -> str:
    height, left, right, top, bottom = LOW, 16, 16, 44, 28
    low, high = np.quantile(np.concatenate([reference, current]), [0.002, 0.998])  # the tails would squeeze the rest into one bin
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = [np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] / len(side) for side in (reference, current)]
    tallest, step = max(share.max() for share in shares), (SIDE - left - right) / bins
    parts = _legend(name)
    for share, colour, opacity in zip(shares, (BLUE, ORANGE), (0.25, 0.0), strict=True):
        heights = [height - bottom - value / tallest * (height - top - bottom) for value in share]
        steps = " ".join(f"{left + i * step:.1f},{y:.1f} {left + (i + 1) * step:.1f},{y:.1f}" for i, y in enumerate(heights))
        outline = f"{left},{height - bottom} {steps} {SIDE - right},{height - bottom}"
        parts.append(f'<polyline points="{outline}" fill="{colour}" fill-opacity="{opacity}" stroke="{colour}" stroke-width="1.6"/>')
    parts.append(f'<path d="M{left} {height - bottom}H{SIDE - right}" stroke="{GREY}"/>')
    for value, x, anchor in ((edges[0], left, "start"), ((edges[0] + edges[-1]) / 2, SIDE / 2, "middle"), (edges[-1], SIDE - right, "end")):
        parts.append(_text(x, height - 10, _number(value, edges[-1] - edges[0]), 11, anchor, GREY))
    return _uri(SIDE, height, parts)


def _categories(name: str, reference: pd.Series, current: pd.Series) -> str:
    both = pd.concat([side.value_counts(normalize=True) for side in (reference, current)], axis=1).fillna(0.0).set_axis(["was", "now"], axis=1)
    telling = (both["was"] - both["now"]).abs() + both.max(axis=1) / 10  # moved most, then holds most
    shown = both.loc[telling.nlargest(8).index].sort_values("was", ascending=False)
    row, left, right, top = 17, 96, 52, 44
    height, scale = max(LOW, top + row * len(shown) + 12), (SIDE - left - right) / max(float(shown.to_numpy().max()), 1e-9)
    parts = _legend(name)
    for i, (category, was, now) in enumerate(zip(shown.index, shown["was"], shown["now"], strict=True)):
        y = top + i * row
        parts.append(_text(left - 8, y + 11, _short(str(category) or "(none)", 13), 11, "end"))
        for share, colour, offset in ((was, BLUE, 1), (now, ORANGE, 8)):
            parts.append(f'<rect x="{left}" y="{y + offset}" width="{share * scale:.1f}" height="6" fill="{colour}"/>')
        parts.append(_text(left + max(was, now) * scale + 6, y + 11, f"{now:.1%}", 10, fill=GREY))
    return _uri(SIDE, height, parts)


def _legend(name: str) -> list[str]:
    return [
        _text(16, 22, _short(name, 24), 13, weight=600),
        f'<rect x="{SIDE - 152}" y="13" width="10" height="10" fill="{BLUE}"/>',
        _text(SIDE - 138, 22, "reference", 11, fill=GREY),
        f'<rect x="{SIDE - 72}" y="13" width="10" height="10" fill="{ORANGE}"/>',
        _text(SIDE - 58, 22, "window", 11, fill=GREY),
    ]


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers that hold all values between them, from zero where the values come near it."""
    low, high = min(values), max(values)
    low = 0.0 if 0 <= low < high * 0.6 else low
    rough = ((high - low) or abs(high) or 1.0) / 4
    step = min((factor * 10 ** floor(log10(rough)) for factor in (1, 2, 2.5, 5, 10)), key=lambda candidate: abs(candidate - rough))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [step * i for i in range(first, max(last, first + 1) + 1)]


def _number(value: float, span: float) -> str:
    """A number on the axis of a histogram, as exact as `span` asks for."""
    return f"{value:,.0f}" if span >= 100 else f"{0.0 if abs(value) < span / 100 else value:.3g}"


def _whisker(x: float, low: float, high: float) -> str:
    return f'<path d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8" stroke="{GREY}" stroke-opacity="0.6" fill="none"/>'


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    listed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{listed}" fill="none" stroke="{BLUE}" stroke-width="2"/>'


def _dot(x: float, y: float, radius: float, bad: bool) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{ORANGE if bad else BLUE}"/>'


def _text(x: float, y: float, text: str, size: int, anchor: str = "start", fill: str = INK, weight: int = 400) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in text)  # one control character in a category would void the whole picture
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">{escape(printable)}</text>'


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _uri(width: int, height: int, parts: Sequence[str]) -> str:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="Helvetica,Arial,sans-serif">'
        f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>{"".join(parts)}</svg>'
    )
    return "data:image/svg+xml;base64," + b64encode(svg.encode(errors="replace")).decode()
