"""One Prefect server for the session, which holds nothing when a module comes to it. Prefect is imported by those who ask for it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@dataclass
class PrefectServer:
    """A server in a process of its own."""

    url: str
    database: Path
    empty: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:"))  # its database as it was after the start

    def __post_init__(self) -> None:
        with closing(sqlite3.connect(self.database)) as now:
            now.backup(self.empty)

    def clear(self) -> None:
        """Take the server back to how it was after its start; while it writes, this waits."""
        with closing(sqlite3.connect(self.database, timeout=60)) as now:
            self.empty.backup(now)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """Runs from the first test that asks for it; the settings of tests that do not ask stay as they are."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        url, database = PREFECT_API_URL.value(), PREFECT_SERVER_DATABASE_CONNECTION_URL.value()
        server = PrefectServer(str(url), Path(str(database).partition(":///")[2]))
        with temporary_settings(restore_defaults={PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL}):
            yield server


@pytest.fixture(scope="module")
def prefect_client(prefect_server: PrefectServer) -> "Iterator[SyncPrefectClient]":
    """A client of the empty server, on which the flows of this module run too."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    prefect_server.clear()
    quick = {PREFECT_API_URL: prefect_server.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(quick), get_client(sync_client=True) as client:
        yield client
