"""The append-only table: each row carries the hash of the one before it, and appends are serialised."""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tasks.errors import AppendRefusedError, ChainError
from tasks.ledger.database import Database
from tasks.ledger.provenance import commit_of, lock_digest
from tasks.ledger.rows import ROWS, AnyRow
from tasks.settings import Settings

GENESIS = "0" * 64

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
    """Append rows, read them all, verify the chain. A PostgreSQL that is away is asked again for half a minute; then comes LedgerAwayError."""

    def __init__(self, url: str, project: Path) -> None:
        self.project = project
        self.database = Database(url)
        if not self.database.ask(lambda connection: sa.inspect(connection).has_table(table.name)):
            self.database.ask(metadata.create_all, serialised=True)  # or two that find no table both make it

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The ledger of an installation; made when it is not there."""
        if settings.ledger.startswith("sqlite"):
            settings.root.mkdir(parents=True, exist_ok=True)
        return cls(settings.ledger, settings.project.resolve())

    def read(self) -> list[Entry]:
        """Every row, oldest first."""
        return self.database.ask(_history)

    def head(self) -> str:
        """Hash of the newest row; a copy kept elsewhere shows later whether the tail was cut off."""
        return self.database.ask(lambda connection: connection.execute(sa.select(table.c.hash).order_by(table.c.seq.desc()).limit(1)).scalar()) or GENESIS

    def append(self, *rows: AnyRow) -> list[Entry]:
        """Append rows, all or none.

        Raises:
            AppendRefusedError: a row whose `once` key exists already.
        """
        return self.transact(lambda history: rows)

    def transact(self, decide: Callable[[History], Sequence[AnyRow]]) -> list[Entry]:
        """Read the ledger, let `decide` say what to append, and append it before anybody else can.

        A connection may be lost when the commit was sent and before its answer came. Then the next try looks, under the same lock,
        for the hash of what was appended: a hash is never made twice, and while the lock was not free the lost transaction may still
        have ended either way. So what is recorded is recorded once; `decide` is asked again only when it was not.

        Args:
            decide: Gets the whole history and returns rows. It may be called more than once and should do nothing else; what it raises
                leaves the ledger as it was.

        Raises:
            AppendRefusedError: a row whose `once` key exists already.
            LedgerAwayError: the database did not come back in time; says whether the rows may have been recorded.
        """
        added: list[Entry] = []

        def attempt(connection: sa.Connection) -> list[Entry]:
            if not added or not connection.execute(sa.select(table.c.seq).where(table.c.hash == added[-1].hash)).first():
                added.clear()
                self._add(connection, decide, added)
            return added

        return self.database.ask(attempt, serialised=True, unsure=added)

    def _add(self, connection: sa.Connection, decide: Callable[[History], Sequence[AnyRow]], added: list[Entry]) -> None:
        history = _history(connection)
        prev, seq = (history[-1].hash, history[-1].seq) if history else (GENESIS, 0)
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

    def verify(self, head: str = "") -> int:
        """Recompute every hash and return the number of rows.

        Args:
            head: A head hash noted earlier; when given, it must still be in the chain.

        Raises:
            ChainError: names the first row that does not hold, or the missing tail.
        """
        return self.database.ask(lambda connection: _verified(connection, head))

    def _stamped(self, row: AnyRow) -> AnyRow:
        return row.model_copy(update={"recorded_at": datetime.now(UTC), "commit": commit_of(self.project), "lock": lock_digest(self.project)})


def _history(connection: sa.Connection) -> list[Entry]:
    return [_entry(record) for record in connection.execute(sa.select(table).order_by(table.c.seq))]


def _verified(connection: sa.Connection, head: str) -> int:
    prev, seq, seen = GENESIS, 0, {GENESIS}
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


def _entry(record: sa.Row[tuple[int, str, str, str | None, str]]) -> Entry:
    return Entry(record.seq, record.hash, _parse(record.body))


@lru_cache(maxsize=1 << 15)  # above the number of rows: a smaller one forgets each row before it is read again
def _parse(body: str) -> AnyRow:
    return ROWS.validate_json(body)
