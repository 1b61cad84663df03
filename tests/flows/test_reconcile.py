"""The reconcile flow as Prefect runs it: a log that cannot be kept fails the run, and keeps nothing else from being done."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient
from served import write_segment
from standins import make_place

from flows.reconcile import reconcile
from tasks.installation import Installation
from tasks.ledger.rows import AlertRow
from tasks.settings import Settings


@pytest.fixture
def settings(prefect_client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:  # flows need a server
    """An installation of the models `air` and `late`, of which nothing is live."""
    for name, value in make_place(tmp_path).environment.items():
        if name.startswith("RATCHET_"):
            monkeypatch.setenv(name, value)
    Installation.of().ledger.append(AlertRow(subject="late", message=str(tmp_path)))  # no page shows this ledger's head yet
    return Settings()


def shown(state: State[Any]) -> bool:
    """Whether the status page is of this run."""
    page = Artifact.get("status")
    return page is not None and page.flow_run_id == state.state_details.flow_run_id


def test_a_log_that_is_damaged_fails_the_run_and_the_others_are_kept(settings: Settings) -> None:
    before = datetime.now(UTC) - timedelta(days=3)
    for model in ("air", "late"):
        write_segment(settings.logs / model / "predictions", before, b'{"v": 1}\n')
    damaged = settings.logs / "air" / "predictions" / f"{before:%Y%m%dT%H%M%S.%f}Z-{before:%Y%m%dT%H%M%S.%f}Z-12345678.parquet"
    damaged.write_bytes(b"no archive")

    state = reconcile(return_state=True)

    assert state.is_failed()
    assert str(state.message).startswith("All else is done, but the log of air was not kept: The archive air/predictions/")
    assert shown(state)
    assert len(list((settings.logs / "late" / "predictions").glob("*.parquet"))) == 1
    assert damaged.read_bytes() == b"no archive"


def test_a_store_of_the_logs_that_is_away_fails_the_run_after_all_else_is_done(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    away = {"RATCHET_LOG_URL": "s3://gone/log", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    for name, value in away.items():
        monkeypatch.setenv(name, value)
    assert Settings().log_url != settings.log_url

    state = reconcile(return_state=True)

    assert state.is_failed()
    assert str(state.message).count("The prediction log at s3://gone/log cannot be read") == 2
    assert shown(state)
