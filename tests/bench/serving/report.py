"""The table, and the last line."""

import json
import statistics
from collections.abc import Mapping
from operator import attrgetter

from contenders import Contender
from measure import LOADS, MAIN, Load, Measured

Results = dict[tuple[str, Load], list[Measured]]
RATIOS = ("vs_mlflow", "vs_fastapi_same", "vs_fastapi_bare")


def show(contestants: list[Contender], results: Results, memory: Mapping[str, float]) -> None:
    """Print what was measured; `ours ÷ it` above 1 means that ours is faster, and beside it the same of CPU time per request."""
    ours, *_ = contestants
    for load in LOADS:
        print(f"\n{load.name:26}{'rows/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}{'RSS MB':>8}{'ours ÷ it':>11}{'by CPU':>8}   (CPU per request)")
        for each in contestants:
            found = results[each.name, load]
            rps, p50, p99, cpu = (statistics.median(map(attrgetter(name), found)) for name in ("rps", "p50", "p99", "cpu"))
            by_rps, by_cpu = (ratio(results, ours, each, load, name) for name in ("rps", "cpu"))
            print(f"{each.name:26}{rps * load.rows:10,.0f}{p50:9.2f}{p99:9.2f}{cpu:9,.0f}{memory[each.name]:8,.0f}{by_rps:11.2f}{1 / by_cpu:8.2f}")
    ratios = {each.ratio: round(ratio(results, ours, each, MAIN, "rps"), 2) for each in contestants if each.ratio}
    p99 = statistics.median(found.p99 for found in results[ours.name, MAIN])
    print("\n" + json.dumps({name: ratios.get(name) for name in RATIOS} | {"p99_ms": round(p99, 2), "rss_mb": round(memory[ours.name])}))


def ratio(results: Results, ours: Contender, other: Contender, load: Load, name: str) -> float:
    """Median over the rounds of ours divided by the other's."""
    pairs = zip(results[ours.name, load], results[other.name, load], strict=True)
    return float(statistics.median(getattr(one, name) / getattr(its, name) for one, its in pairs))
