"""The databases that a ledger may lie in, and processes that append to it at once."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres import Postgres

from tasks.ledger.chain import Ledger

APPENDER = """
import sys
from pathlib import Path
from tasks.errors import LedgerError
from tasks.ledger.chain import Ledger
from tasks.ledger.rows import AlertRow
ledger = Ledger(sys.argv[1], Path("/"))
for number in range(int(sys.argv[3])):
    try:
        [entry] = ledger.append(AlertRow(subject=sys.argv[2], message=str(number)))
    except LedgerError as err:
        print("raised", number, err, file=sys.stderr)
    else:
        print(entry.seq, number, flush=True)
"""


@dataclass(frozen=True)
class Database:
    """An empty database. `urls` are the ways to reach it: PostgreSQL's over TCP, as from another host, and over its socket."""

    urls: tuple[str, ...]

    def ledger(self) -> Ledger:
        return Ledger(self.urls[0], Path("/"))

    def appender(self, subject: str, count: int, way: int = 0) -> "subprocess.Popen[str]":
        """A process that appends rows one after the other, and says the sequence number and message of each that is recorded."""
        command = [sys.executable, "-c", APPENDER, self.urls[way % len(self.urls)], subject, str(count)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sqlite_in(folder: Path) -> Database:
    return Database((f"sqlite:///{folder / 'ledger.db'}",))


def postgresql_on(server: Postgres) -> Database:
    name = server.database()
    return Database((server.over_tcp(name), server.over_socket(name)))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """One of each kind."""
    return sqlite_in(tmp_path) if request.param == "sqlite" else postgresql_on(request.getfixturevalue("postgres"))
