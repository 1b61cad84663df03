"""Features that the log does not hold as they were sent are neither validated nor compared; the others are as before."""

from pathlib import Path

import pandas as pd
import pytest
from served import FEATURES, day, draw, send

from bentos.runtime.contract import Contract, Feature
from tasks.ledger.chain import Ledger
from tasks.ledger.rows import Finding
from tasks.monitoring.drift import report
from tasks.monitoring.judge import judge
from tasks.monitoring.thresholds import calibrate
from tasks.settings import Settings
from tasks.spec import ModelSpec, Monitoring
from tasks.store import Store

MODES = {"carrier": "hash", "temp": "omit"}


@pytest.fixture
def features() -> dict[str, Feature]:
    return {name: Feature(**{**vars(feature), "log": MODES.get(name, "plain")}) for name, feature in FEATURES.items()}


@pytest.fixture
def spec(spec: ModelSpec, features: dict[str, Feature]) -> ModelSpec:
    return spec.model_copy(update={"features": features})


def test_a_window_is_judged_by_what_the_log_holds(spec: ModelSpec, settings: Settings, ledger: Ledger, folder: Path) -> None:
    looked_at: list[list[str]] = []

    def holds(frame: pd.DataFrame) -> tuple[bool, tuple[Finding, ...]]:
        looked_at.append(list(frame.columns))
        return False, ()

    send(folder, draw(day("2013-04-01"), 30, 2_000, seed=1).drop(columns="temp").replace({"carrier": {"AA": "aaaaaaaaaaaaaaaa", "UA": "0123456789abcdef"}}))

    (judged,) = judge(spec, settings, Store.of(settings), ledger.read(), holds)

    assert looked_at == [["distance", "weekend", "prediction"]]
    assert judged.row.verdict == "stable"
    assert set(judged.row.drift) == {"distance", "weekend", "prediction"}


def test_no_threshold_is_calibrated_for_what_is_never_compared(spec: ModelSpec) -> None:
    rows = draw(day("2013-01-07"), 84, 2_000)

    assert set(calibrate(rows, spec.contract, spec.monitoring)) == {"distance", "weekend", "prediction"}


def test_a_model_that_logs_no_feature_is_watched_by_its_predictions(features: dict[str, Feature]) -> None:
    hidden = {name: Feature(type=feature.type, log="omit") for name, feature in features.items()}
    contract, rows = Contract(name="late", task="binary", features=hidden), draw(day("2013-01-07"), 84, 1_000)

    found = report(rows, rows[["prediction"]], calibrate(rows, contract, Monitoring()), contract, Monitoring())

    assert [(column.name, column.status) for column in found.columns] == [("prediction", "stable")]
