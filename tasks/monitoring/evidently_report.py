"""Evidently's part of the drift verdict: every column with its method and its threshold stated, and the verdicts read from its tests."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from tasks.errors import PlatformError

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

METHODS = {"number": "wasserstein", "category": "jensenshannon"}


@dataclass(frozen=True)
class Pair:
    """A column ready to be compared: both sides have values. `missing_limit` is the largest share of nulls, None where they are not judged."""

    name: str
    kind: Literal["number", "category"]
    reference: "pd.Series[Any]"
    current: "pd.Series[Any]"
    threshold: float
    missing_limit: float | None = None


@dataclass(frozen=True)
class Judgement:
    """What Evidently found of one column: the score, and the statuses of its two tests, empty where it ran none."""

    score: float = math.nan
    drift: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Evidence:
    """Evidently's report on one window."""

    columns: dict[str, Judgement]
    html: bytes
    json: str


def compare(pairs: Sequence[Pair], title: str) -> Evidence:
    """Run Evidently's report.

    Raises:
        PlatformError: Evidently failed; nothing is known of any column then.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of its own deprecated calls, and of constant columns' correlations
            snapshot = _run(pairs, title)
            text, html = snapshot.json(), snapshot.get_html_str(as_iframe=False)
    except Exception as err:  # Evidently gives up a whole report over one column, with whatever its parts raise
        found = f"Evidently could not compare {title} with the reference: {type(err).__name__}: {err}"
        raise PlatformError(found, "Nothing was decided; the next run of monitor tries again") from err
    return Evidence(judgements(json.loads(text)), html.encode(), text)


def judgements(content: Mapping[str, Any]) -> dict[str, Judgement]:
    """One judgement a column out of the report's JSON."""
    statuses: dict[tuple[str, str], str] = {}
    for test in content["tests"]:
        of = test["metric_config"]["params"]
        statuses[of["column"], of["type"].rpartition(":")[2]] = test["status"]
    found = {}
    for metric in content["metrics"]:
        name, kind = metric["config"]["column"], metric["config"]["type"].rpartition(":")[2]
        if kind == "ValueDrift":
            found[name] = Judgement(float(metric["value"]), statuses.get((name, kind), ""), statuses.get((name, "MissingValueCount"), ""))
    return found


def _run(pairs: Sequence[Pair], title: str) -> "Snapshot":
    from evidently import DataDefinition, Dataset, Report
    from evidently.core.container import MetricOrContainer
    from evidently.metrics import MissingValueCount, ValueDrift
    from evidently.tests import lte

    names = {kind: [pair.name for pair in pairs if pair.kind == kind] for kind in METHODS}
    definition = DataDefinition(numerical_columns=names["number"], categorical_columns=names["category"])
    # Columns of different lengths are padded with nulls, which ValueDrift leaves out.
    current = pd.DataFrame({pair.name: pair.current.reset_index(drop=True) for pair in pairs})
    reference = pd.DataFrame({pair.name: pair.reference.reset_index(drop=True) for pair in pairs})
    metrics: list[MetricOrContainer] = [ValueDrift(column=pair.name, method=METHODS[pair.kind], threshold=pair.threshold) for pair in pairs]
    metrics += [MissingValueCount(column=pair.name, tests=[], share_tests=[lte(pair.missing_limit)]) for pair in pairs if pair.missing_limit is not None]
    datasets = [Dataset.from_pandas(frame, data_definition=definition) for frame in (current, reference)]
    return Report(metrics, include_tests=True).run(*datasets, name=title)
