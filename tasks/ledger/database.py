"""The database of the ledger: one writer at a time, and patience with a server that is away."""

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from tasks.errors import LedgerError

T = TypeVar("T")
SQLITE_SECONDS = 60.0  # that a connection waits for the writer before it
ADVISORY_LOCK = 7_247_438  # any number; it must only be the same for every writer of one ledger
PAUSES = (0.2, 0.5, 1, 2, 4, 8, 8, 8)  # seconds between askings of a PostgreSQL that is away: a restart is over by then
# A writer whose host vanished must not hold the lock until TCP gives up, two hours later: the server ends it after a minute.
LOCK = f"""SELECT set_config('idle_in_transaction_session_timeout', '60s', true), set_config('lock_timeout', '120s', true),
 pg_advisory_xact_lock({ADVISORY_LOCK})"""
# And a server whose host vanished must not be waited for as long.
PATIENCE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}


class LedgerAwayError(LedgerError):
    """The database of the ledger does not answer, or refuses this client."""

    def __init__(self, url: str, found: str, unsure: bool) -> None:
        outcome = "Whether the rows were recorded is not known: read the ledger before appending them again" if unsure else "Nothing was recorded"
        super().__init__(f"The ledger at {url} cannot be used: {found}. {outcome}. See that the database runs and that RATCHET_LEDGER_URL is right.")


class Database:
    """A SQLite file or a PostgreSQL. One that is away is asked again for half a minute; then comes LedgerAwayError."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)

    def ask(self, work: Callable[[sa.Connection], T], serialised: bool = False, unsure: Collection[object] = ()) -> T:
        """Do `work` on a connection, from the start again while the database is away for a while.

        Args:
            work: May be called more than once.
            serialised: One writer at a time, and what `work` did is committed.
            unsure: Filled by `work` as soon as it may have recorded something.

        Raises:
            LedgerAwayError: the database did not come back in time, or refuses this client.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                with self.serialised() if serialised else self.engine.connect() as connection:
                    return work(connection)
            except (OperationalError, InterfaceError) as err:
                pause = next(pauses, None)
                if pause is None or not _may_return(err):
                    raise LedgerAwayError(self.engine.url.render_as_string(), " ".join(str(err.orig).split()).rstrip(".?"), bool(unsure)) from err
            time.sleep(pause)

    @contextmanager
    def serialised(self) -> Iterator[sa.Connection]:
        """One writer at a time: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock taken before the first read."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else LOCK)
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()


def _may_return(err: DBAPIError) -> bool:
    """True when the connection was lost, or could not be made (psycopg gives such errors no SQLSTATE). A server that refuses this client will go on refusing."""
    if err.connection_invalidated:
        return True
    refused = ("authentication failed", "does not exist", "pg_hba.conf", "permission denied")
    return getattr(err.orig, "sqlstate", "") is None and not any(words in str(err.orig) for words in refused)


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=PATIENCE)
    engine = sa.create_engine(url, connect_args={"timeout": SQLITE_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3's own implicit BEGIN would be DEFERRED
        _write_ahead(connection)  # type: ignore[arg-type]
        connection.execute("PRAGMA synchronous=FULL")  # type: ignore[attr-defined]

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL, which lasts. Of two who switch a new file at once SQLite refuses one at once, whatever its timeout."""
    until = time.monotonic() + SQLITE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.05)
