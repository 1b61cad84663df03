"""Files that a stranger might bring, as frames, and a project in which some of them became models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.project import Project


def subscribers(rows: int = 600) -> pd.DataFrame:
    """Binary, text label, no time column, odd column names, an id, a text for null among numbers."""
    rng = np.random.default_rng(1)
    tenure, plan = rng.integers(0, 72, rows), rng.choice(["basic", "plus", "pro"], rows)
    left = rng.random(rows) < 1 / (1 + np.exp(0.08 * tenure - 1.5 - 1.2 * (plan == "basic")))
    total = pd.Series((tenure * 19.9).round(2)).astype(str).mask(tenure == 0, " ")
    return pd.DataFrame(
        {
            "Customer-ID": [f"{number:05d}-{number * 7919 % 997}X" for number in rng.permutation(rows)],
            "Monthly tenure (m)": tenure,
            "plan": plan,
            "2nd.line": rng.random(rows) < 0.3,
            "total €": total,
            "Total_": rng.normal(10, 3, rows).round(2),
            "class": rng.choice(["a", "b"], rows),
            "left us": np.where(left, "yes", "no"),
        }
    )


def harvests(rows: int = 900) -> pd.DataFrame:
    """Multiclass, a time column, a column with nulls."""
    rng = np.random.default_rng(2)
    size, sugar = rng.normal(50, 15, rows), rng.normal(10, 3, rows)
    grade = np.where(size + 3 * sugar > 90, "A", np.where(size + 3 * sugar > 70, "B", "C"))
    return pd.DataFrame(
        {
            "picked_at": pd.date_range("2024-05-01 06:00", periods=rows, freq="3h"),
            "orchard": rng.choice(["north", "south", "west"], rows),
            "size_mm": size.round(1),
            "sugar": pd.Series(sugar.round(2)).mask(rng.random(rows) < 0.1),
            "rainy": rng.random(rows) < 0.2,
            "grade": np.where(rng.random(rows) < 0.05, "B", grade),
        }
    )


def rents(rows: int = 1_200) -> pd.DataFrame:
    """Regression, truly linear, all numbers, days as a spreadsheet writes them."""
    rng = np.random.default_rng(3)
    metres, rooms, floor = rng.uniform(20, 150, rows), rng.integers(1, 6, rows), rng.integers(0, 9, rows)
    return pd.DataFrame(
        {
            "day": pd.date_range("2023-02-01", periods=rows, freq="8h").strftime("%d.%m.%Y"),
            "metres": metres.round(1),
            "rooms": rooms,
            "floor": floor,
            "rent": (9.5 * metres + 80 * rooms + 15 * floor + rng.normal(0, 60, rows)).round(2),
        }
    )


@dataclass(frozen=True)
class Made:
    """A project and the models that `ratchet new` wrote into it."""

    root: Path
    files: dict[str, list[Path]]

    @property
    def project(self) -> Project:
        return Project(self.root)
