"""Many writers at once, writers that are killed, databases that go away: the chain holds, without a gap and without a row twice."""

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from databases import Database, postgresql_on, sqlite_in
from postgres import Postgres
from sqlalchemy import create_engine, make_url

from tasks.ledger.chain import History, Ledger
from tasks.ledger.database import PAUSES, LedgerAwayError
from tasks.ledger.rows import AlertRow, AnyRow

CLAIMANT = """
import sys
from pathlib import Path
from factories import version
from tasks.errors import AppendRefusedError
from tasks.ledger.chain import Ledger
ledger = Ledger(sys.argv[1], Path("/"))
for number in range(25):
    try:
        ledger.append(version(f"late-{number}", name=sys.argv[2]))
    except AppendRefusedError:
        pass
    else:
        print(number, flush=True)
"""
COUNTER = """
import sys
from pathlib import Path
from tasks.ledger.chain import Ledger
from tasks.ledger.rows import AlertRow
ledger = Ledger(sys.argv[1], Path("/"))
for number in range(25):
    ledger.transact(lambda history: [AlertRow(subject=sys.argv[2], message=str(len(history)))])
"""
WRITERS, ROWS = 8, 25


def alerts(ledger: Ledger, subject: str) -> list[tuple[int, str]]:
    return [(entry.seq, entry.row.message) for entry in ledger.read() if isinstance(entry.row, AlertRow) and entry.row.subject == subject]


def told(text: str) -> list[tuple[int, str]]:
    return [(int(seq), message) for seq, message in map(str.split, text.splitlines())]


def all_at_once(database: Database, program: str) -> list[str]:
    """What eight processes print, half of them by each way to the database."""
    ways = [database.urls[number % len(database.urls)] for number in range(WRITERS)]
    path = {"PYTHONPATH": ":".join([str(Path(__file__).parents[2]), str(Path(__file__).parents[3])])}
    writers = [
        subprocess.Popen([sys.executable, "-c", program, way, f"writer {number}"], stdout=subprocess.PIPE, text=True, env=path)
        for number, way in enumerate(ways)
    ]
    printed = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    return printed


def test_eight_processes_on_an_empty_database_lose_and_mix_up_nothing(database: Database) -> None:
    writers = [database.appender(f"writer {number}", ROWS, way=number) for number in range(WRITERS)]

    printed = [writer.communicate() for writer in writers]

    ledger = database.ledger()
    assert ledger.verify() == WRITERS * ROWS
    for number, (out, err) in enumerate(printed):
        assert err == ""
        assert alerts(ledger, f"writer {number}") == told(out)
        assert [message for _, message in told(out)] == [str(each) for each in range(ROWS)]


def test_a_new_database_that_another_one_is_writing_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite refuses the switch to WAL without waiting while somebody writes in the mode that a new file has."""
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.5, other.commit)
    ends.start()

    assert Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path).read() == []
    ends.join()
    other.close()


def test_a_once_key_that_eight_processes_want_is_given_to_one(database: Database) -> None:
    printed = all_at_once(database, CLAIMANT)

    winners = sorted(int(line) for out in printed for line in out.split())
    assert winners == list(range(25))
    assert database.ledger().verify() == 25


def test_decide_always_sees_all_that_was_appended_before(database: Database) -> None:
    all_at_once(database, COUNTER)

    ledger = database.ledger()
    assert ledger.verify() == WRITERS * 25
    assert [entry.row.message for entry in ledger.read() if isinstance(entry.row, AlertRow)] == [str(number) for number in range(WRITERS * 25)]


def test_writers_killed_in_mid_append_leave_a_chain_with_everything_they_were_told_is_recorded(database: Database) -> None:
    survivor = database.appender("survivor", 60)
    for number in range(6):
        writer = database.appender(f"writer {number}", 100_000, way=number)
        assert writer.stdout is not None
        heard = "".join(writer.stdout.readline() for _ in range(5))
        time.sleep(0.011 * number)  # so that the kill falls on different moments of an append
        writer.send_signal(signal.SIGKILL)
        heard += writer.stdout.read()
        writer.communicate()

        ledger = database.ledger()
        ledger.verify()
        recorded = alerts(ledger, f"writer {number}")
        whole = [line for line in heard.splitlines(keepends=True) if line.endswith("\n")]
        assert recorded[: len(whole)] == told("".join(whole))
        assert len(recorded) <= len(whole) + 1  # the append it was killed in may have come through
        ledger.append(AlertRow(subject="next", message="the next writer goes on"))
    out, err = survivor.communicate()
    assert (alerts(database.ledger(), "survivor"), err) == (told(out), "")


def test_a_crash_of_postgresql_in_mid_append_loses_and_doubles_nothing(own_postgres: Postgres) -> None:
    database = postgresql_on(own_postgres)
    writers = [database.appender(f"writer {number}", 150, way=number) for number in range(4)]
    heard = [writer.stdout.readline() for writer in writers if writer.stdout]

    for _ in range(3):
        time.sleep(0.3)
        own_postgres.stop("immediate")
        own_postgres.start()

    heard = [first + writer.stdout.read() for first, writer in zip(heard, writers, strict=True) if writer.stdout]
    ledger = database.ledger()
    assert [writer.communicate()[1] for writer in writers] == [""] * 4
    assert ledger.verify() == 600
    for number, text in enumerate(heard):
        assert alerts(ledger, f"writer {number}") == told(text)
        assert [message for _, message in alerts(ledger, f"writer {number}")] == [str(each) for each in range(150)]


def test_a_postgresql_that_stays_away_is_named_without_its_password_and_is_used_again_when_it_is_back(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ledger.database.PAUSES", (0.1,))
    ledger = postgresql_on(own_postgres).ledger()
    ledger.append(AlertRow(subject="a", message="before"))
    own_postgres.stop()

    for ask in (ledger.read, ledger.head, ledger.verify, lambda: ledger.append(AlertRow(subject="a", message="never"))):
        with pytest.raises(LedgerAwayError, match=r"The ledger at postgresql\+psycopg://ratchet:\*\*\*@127.0.0.1:.*refused.* Nothing was recorded"):
            ask()

    own_postgres.start()
    ledger.append(AlertRow(subject="a", message="after"))
    assert [message for _, message in alerts(ledger, "a")] == ["before", "after"]


@pytest.mark.parametrize(("part", "wrong"), [("password", "wrong"), ("database", "nosuch")])
def test_a_postgresql_that_refuses_is_not_asked_again(postgres: Postgres, part: str, wrong: str) -> None:
    url = make_url(postgresql_on(postgres).urls[0]).set(**{part: wrong})  # type: ignore[arg-type]  # the name of one of its parts
    started = time.monotonic()

    with pytest.raises(LedgerAwayError, match="cannot be used: .*(authentication failed|does not exist).*RATCHET_LEDGER_URL is right"):
        Ledger(url.render_as_string(hide_password=False), Path("/"))

    assert time.monotonic() - started < sum(PAUSES) / 2


@pytest.mark.parametrize("reaches", [True, False], ids=["its answer is lost", "it never arrives"])
def test_a_commit_whose_connection_breaks_is_recorded_once(postgres: Postgres, reaches: bool) -> None:
    database = postgresql_on(postgres)
    database.ledger()
    with cutting(postgres, reaches) as (port, cut):
        ledger = Ledger(make_url(database.urls[0]).set(port=port).render_as_string(hide_password=False), Path("/"))
        asked: list[int] = []

        def decide(history: History) -> Sequence[AnyRow]:
            asked.append(len(history))
            return [AlertRow(subject="a", message="one"), AlertRow(subject="a", message="two")]

        cut.set()
        added = ledger.transact(decide)
        assert not cut.is_set()

    ledger = database.ledger()
    assert ledger.verify() == 2
    assert [entry.hash for entry in added] == [entry.hash for entry in ledger.read()]
    assert asked == ([0] if reaches else [0, 0])


@contextmanager
def cutting(server: Postgres, reaches: bool) -> Iterator[tuple[int, threading.Event]]:
    """Port of a wire to the server, and what makes it break at the next COMMIT: behind it, or before it."""
    cut = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def forward(source: socket.socket, to: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if asks and cut.is_set() and b"COMMIT\0" in data:
                    cut.clear()
                    source.shutdown(socket.SHUT_RDWR)
                    if reaches:
                        to.sendall(data)
                    break
                to.sendall(data)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection(("127.0.0.1", server.port))
                for source, to, asks in ((client, upstream, True), (upstream, client, False)):
                    threading.Thread(target=forward, args=(source, to, asks), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1], cut


def test_a_writer_that_vanishes_with_the_lock_does_not_hold_it_for_ever(postgres: Postgres) -> None:
    database = postgresql_on(postgres)
    ledger = database.ledger()
    with ledger.database.serialised() as connection:
        limits = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("idle_in_transaction_session_timeout", "lock_timeout")]

    assert limits == ["1min", "2min"]


def test_sqlite_that_stays_locked_is_an_error_of_the_ledger(tmp_path: Path) -> None:
    database = sqlite_in(tmp_path)
    ledger, other = database.ledger(), database.ledger()
    ledger.database.engine = create_engine(replace(database).urls[0], connect_args={"timeout": 0.1, "isolation_level": None})

    with other.database.serialised(), pytest.raises(LedgerAwayError, match="database is locked"):
        ledger.append(AlertRow(subject="a", message="never"))

    assert ledger.verify() == 0
