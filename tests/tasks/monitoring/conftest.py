"""A small model, and an installation in which its one version is live."""

from pathlib import Path

import pytest
from served import FEATURES, VERSION, version_row

from tasks.ledger.chain import Ledger
from tasks.ledger.rows import ReleaseRow
from tasks.settings import Settings
from tasks.spec import Gate, Label, ModelSpec, Monitoring, Triggers
from tasks.store import Store


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return ModelSpec(
        name="late",
        folder=tmp_path,
        dataset="flights",
        task="binary",
        label=Label(column="delay", above=15),
        features=FEATURES,
        gate=Gate(metric="roc_auc", draws=200),
        monitoring=Monitoring(window="month", min_rows=500, min_labels=200, decay=0.05),
        triggers=Triggers(drift="retrain", decay="retrain"),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    project = tmp_path / "project"
    (project / "expectations" / "flights").mkdir(parents=True)
    (project / "bentos").mkdir()
    (project / "expectations" / "flights" / "dataset.toml").write_text('label_delay_days = 1.0\nperiod = "month"\n')
    return Settings(project=project, home=tmp_path / "home")


@pytest.fixture
def ledger(settings: Settings, spec: ModelSpec) -> Ledger:
    """A ledger in which the version is live."""
    ledger = Ledger.of(settings)
    ledger.append(version_row(spec, Store.of(settings)), ReleaseRow(model=spec.name, release="1", version=VERSION, step="live", reason="first"))
    return ledger


@pytest.fixture
def folder(settings: Settings, spec: ModelSpec) -> Path:
    """The log folder of the model."""
    return settings.logs / spec.name
