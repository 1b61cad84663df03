"""The append-only table: each row carries the hash of the one before it, and appends are serialised."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tasks.errors import AppendRefusedError, ChainError
from tasks.ledger.provenance import commit_of, lock_digest
from tasks.ledger.rows import ROWS, AnyRow
from tasks.settings import Settings

GENESIS = "0" * 64
ADVISORY_LOCK = 7_247_438  # any number; it must only be the same for every writer of one ledger

metadata = sa.MetaData()
table = sa.Table(
    "ledger",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("prev_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("once", sa.String(200), nullable=True, unique=True),
    sa.Column("body", sa.Text, nullable=False),
)


class Entry(NamedTuple):
    """One row as the ledger holds it."""

    seq: int
    hash: str
    row: AnyRow


History = Sequence[Entry]


def canonical(row: AnyRow) -> str:
    """The text that is hashed and stored: JSON with sorted keys and no spaces."""
    return json.dumps(row.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def link(prev_hash: str, seq: int, body: str) -> str:
    """Hash of a row: sha256 over the previous hash, the number and the text."""
    return hashlib.sha256(f"{prev_hash}\n{seq}\n{body}".encode()).hexdigest()


class Ledger:
    """Append rows, read them all, verify the chain."""

    def __init__(self, url: str, project: Path) -> None:
        self.project = project
        self.engine = _engine(url)
        metadata.create_all(self.engine)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The ledger of an installation; made when it is not there."""
        if settings.ledger.startswith("sqlite"):
            settings.root.mkdir(parents=True, exist_ok=True)
        return cls(settings.ledger, settings.project.resolve())

    def read(self) -> list[Entry]:
        """Every row, oldest first."""
        with self.engine.connect() as connection:
            return [_entry(record) for record in connection.execute(sa.select(table).order_by(table.c.seq))]

    def head(self) -> str:
        """Hash of the newest row; a copy kept elsewhere shows later whether the tail was cut off."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(table.c.hash).order_by(table.c.seq.desc()).limit(1)).scalar() or GENESIS

    def append(self, *rows: AnyRow) -> list[Entry]:
        """Append rows, all or none.

        Raises:
            AppendRefusedError: a row whose `once` key exists already.
        """
        return self.transact(lambda history: rows)

    def transact(self, decide: Callable[[History], Sequence[AnyRow]]) -> list[Entry]:
        """Read the ledger, let `decide` say what to append, and append it before anybody else can.

        `decide` gets the whole history and returns rows; what it raises leaves the ledger as it was.
        """
        with self._serialised() as connection:
            records = connection.execute(sa.select(table).order_by(table.c.seq)).all()
            history = [_entry(record) for record in records]
            prev, seq = (history[-1].hash, history[-1].seq) if history else (GENESIS, 0)
            added = []
            for row in decide(history):
                row = self._stamped(row)
                body, seq = canonical(row), seq + 1
                entry = Entry(seq, link(prev, seq, body), row)
                try:
                    connection.execute(table.insert().values(seq=seq, prev_hash=prev, hash=entry.hash, once=row.once, body=body))
                except IntegrityError as err:
                    raise AppendRefusedError(f"A {row.kind} row", f"the ledger already holds {row.once!r}") from err
                added.append(entry)
                prev = entry.hash
            return added

    def verify(self, head: str = "") -> int:
        """Recompute every hash and return the number of rows.

        Args:
            head: A head hash noted earlier; when given, it must still be in the chain.

        Raises:
            ChainError: names the first row that does not hold, or the missing tail.
        """
        prev, seq, seen = GENESIS, 0, {GENESIS}
        with self.engine.connect() as connection:
            for record in connection.execute(sa.select(table).order_by(table.c.seq)):
                if record.seq != seq + 1:
                    raise ChainError(seq + 1, f"missing: the next row has number {record.seq}")
                seq = record.seq
                if record.prev_hash != prev:
                    raise ChainError(seq, "its link to the row before was changed")
                if link(prev, seq, record.body) != record.hash:
                    raise ChainError(seq, "its text is not the text that was recorded")
                if ROWS.validate_json(record.body).once != record.once:
                    raise ChainError(seq, "its `once` key was changed")
                prev = record.hash
                seen.add(prev)
        if head and head not in seen:
            raise ChainError(seq + 1, f"missing: the noted head {head[:12]}… is not in the chain, so its tail was removed or rewritten")
        return seq

    def _stamped(self, row: AnyRow) -> AnyRow:
        return row.model_copy(update={"recorded_at": datetime.now(UTC), "commit": commit_of(self.project), "lock": lock_digest(self.project)})

    @contextmanager
    def _serialised(self) -> Iterator[sa.Connection]:
        """One writer at a time: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock taken before the first read."""
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()


def _entry(record: sa.Row[tuple[int, str, str, str | None, str]]) -> Entry:
    return Entry(record.seq, record.hash, _parse(record.body))


@lru_cache(maxsize=4096)
def _parse(body: str) -> AnyRow:
    return ROWS.validate_json(body)


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3's own implicit BEGIN would be DEFERRED
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA synchronous=FULL")  # type: ignore[attr-defined]

    return engine
