"""A ledger on disk and one model's spec."""

from pathlib import Path

import pytest

from bentos.runtime.contract import Feature
from tasks.ledger.chain import Ledger
from tasks.spec import Gate, Label, ModelSpec, Triggers


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path)


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return ModelSpec(
        name="late",
        folder=tmp_path,
        dataset="flights",
        task="binary",
        label=Label(column="delay", above=15),
        features={"distance": Feature(type="number")},
        gate=Gate(metric="roc_auc"),
        triggers=Triggers(drift="retrain", cooldown_days=5, daily_budget=2),
    )
