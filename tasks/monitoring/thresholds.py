"""Drift thresholds, calibrated on the reference: how far apart its own blocks are."""

import numpy as np
import pandas as pd

from bentos.runtime.contract import Contract
from tasks.monitoring.columns import PREDICTION, Kind, Series, comparable, kinds, merged, sampled
from tasks.spec import Monitoring

MISSING_FLOOR = 0.05  # share of nulls that is never called drift
BLOCKS = 52  # a year of weeks: more blocks do not move a 95 % quantile, and each costs a sort


def calibrate(reference: pd.DataFrame, contract: Contract, monitoring: Monitoring, seed: int = 0) -> dict[str, float]:
    """Drift threshold per column: factor times the quantile of a block's distance from the rest of the reference, and never below the floor.

    Blocks, because neighbouring rows are alike: thresholds for independent rows would call every week of weather drifted.
    A column without values gets none. The hold-out alone is too short to say how much predictions vary, so all rows do.

    Args:
        reference: Feature columns, `prediction` and `event_time`.
    """
    columns, thresholds = comparable(reference.drop(columns="holdout", errors="ignore"), contract), {}
    for name, kind in kinds(contract).items():
        column = columns[name].dropna()
        if len(column):
            distances = _leave_one_out(merged(column, column, kind)[0], reference.loc[column.index, "event_time"], kind, monitoring, seed)
            spread = float(np.quantile(distances, monitoring.threshold_quantile)) if distances else 0.0
            thresholds[name] = max(monitoring.threshold_floor, monitoring.threshold_factor * spread)
    return thresholds


def missing_limits(reference: pd.DataFrame, contract: Contract, monitoring: Monitoring) -> dict[str, float]:
    """Share of nulls above which a numeric feature drifts: like the thresholds, from the blocks of the reference. A missing category is a category."""
    numbers = {name: column.isna() for name, column in comparable(reference, contract).items() if kinds(contract)[name] == "number" and name != PREDICTION}
    shares = pd.DataFrame(numbers).groupby(blocks(reference["event_time"], monitoring.window)).mean()
    usual = shares.quantile(monitoring.threshold_quantile) * monitoring.threshold_factor
    return {name: min(1.0, max(MISSING_FLOOR, float(usual[name]))) for name in numbers}


def blocks(times: Series, window: str) -> Series:
    """Block of each row: weeks when the reference spans four and windows are no days, days when it spans eight, else ten equal consecutive parts."""
    days = (times.max() - times.min()) / pd.Timedelta(days=1)
    if days >= 28 and window != "day":
        weeks: Series = (times - pd.Timestamp("1970-01-05")) // pd.Timedelta(days=7)  # that was a Monday
        return weeks
    if days >= 8:
        return pd.Series(times.dt.floor("D"))
    return (times.rank(method="first") * 10 / (len(times) + 1)).astype(int)


def scores(reference: pd.DataFrame, current: pd.DataFrame, contract: Contract) -> dict[str, float]:
    """Distance of each column with values on both sides: Wasserstein in standard deviations of the reference, for categories Jensen-Shannon.

    Equal to what Evidently's ValueDrift computes from the same rows with long tails of categories merged.
    """
    left, right = comparable(reference, contract), comparable(current, contract)
    pairs = {name: (*merged(left[name].dropna(), right[name].dropna(), kind), kind) for name, kind in kinds(contract).items()}
    return {name: _distance(had, has, kind) for name, (had, has, kind) in pairs.items() if len(had) and len(has)}


def _leave_one_out(column: Series, times: Series, kind: Kind, monitoring: Monitoring, seed: int) -> list[float]:
    """Distance of each block from the other blocks; nothing when there is only one."""
    labels = blocks(times, monitoring.window)
    sizes: Series = labels.value_counts(sort=False)
    chosen = sizes.index[sizes >= 0.8 * sizes.median()]  # a stub of a week lacks some weekdays
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, BLOCKS).round().astype(int))]
    sides = [(column[labels != block], column[labels == block]) for block in chosen if len(sizes) > 1]
    return [_distance(sampled(rest, monitoring.sample, seed), sampled(block, monitoring.sample, seed), kind) for rest, block in sides]


def _distance(reference: Series, current: Series, kind: Kind) -> float:
    if kind == "number":
        from scipy.stats import wasserstein_distance

        scale = max(float(np.std(reference)), 0.001)  # as Evidently does, so that a constant column divides by something
        return float(wasserstein_distance(reference, current)) / scale
    from scipy.spatial.distance import jensenshannon

    shares = pd.concat([reference.value_counts(normalize=True), current.value_counts(normalize=True)], axis=1).fillna(0.0)
    return float(jensenshannon(shares.iloc[:, 0], shares.iloc[:, 1]))
