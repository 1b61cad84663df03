"""The chain: what is appended stays, in order, and every change of it is noticed."""

from collections.abc import Sequence

import pytest
from databases import Database
from factories import batch, day, version

from tasks.errors import AppendRefusedError, ChainError
from tasks.ledger.chain import GENESIS, History, Ledger
from tasks.ledger.rows import AlertRow, AnyRow


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return database.ledger()


def alert(message: str) -> AlertRow:
    return AlertRow(subject="late", message=message)


def tamper(ledger: Ledger, statement: str) -> None:
    with ledger.database.engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


def test_what_is_appended_is_read_in_order_with_the_envelope_filled_in(ledger: Ledger) -> None:
    ledger.append(alert("one"), batch("2013-01", day(1)))
    ledger.append(alert("three"))

    entries = ledger.read()

    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert [entry.row.kind for entry in entries] == ["alert", "batch", "alert"]
    assert all(entry.row.recorded_at for entry in entries)
    assert ledger.head() == entries[-1].hash
    assert ledger.verify() == 3


def test_an_empty_ledger_holds(ledger: Ledger) -> None:
    assert ledger.verify() == 0
    assert ledger.head() == GENESIS


def test_one_changed_byte_is_named_by_its_row(ledger: Ledger) -> None:
    ledger.append(*[alert(f"message {number}") for number in range(5)])

    tamper(ledger, "UPDATE ledger SET body = replace(body, 'message 2', 'message 9') WHERE seq = 3")

    with pytest.raises(ChainError, match="Ledger row 3: its text is not the text that was recorded") as caught:
        ledger.verify()
    assert caught.value.seq == 3


def test_a_rewritten_hash_breaks_the_link_of_the_next_row(ledger: Ledger) -> None:
    ledger.append(alert("one"), alert("two"), alert("three"))
    from tasks.ledger.chain import link

    body = ledger.database.engine.connect().exec_driver_sql("SELECT body FROM ledger WHERE seq = 2").scalar_one().replace("two", "TWO")
    first = ledger.read()[0].hash
    tamper(ledger, f"UPDATE ledger SET body = '{body}', hash = '{link(first, 2, body)}' WHERE seq = 2")

    with pytest.raises(ChainError, match="Ledger row 3: its link to the row before was changed"):
        ledger.verify()


def test_a_row_taken_out_of_the_middle_is_named(ledger: Ledger) -> None:
    ledger.append(alert("one"), alert("two"), alert("three"))

    tamper(ledger, "DELETE FROM ledger WHERE seq = 2")

    with pytest.raises(ChainError, match="Ledger row 2: missing"):
        ledger.verify()


def test_a_changed_once_key_is_noticed(ledger: Ledger) -> None:
    ledger.append(version("late-1"))

    tamper(ledger, "UPDATE ledger SET once = NULL WHERE seq = 1")

    with pytest.raises(ChainError, match="its `once` key was changed"):
        ledger.verify()


def test_a_removed_tail_is_noticed_only_with_the_noted_head(ledger: Ledger) -> None:
    ledger.append(alert("one"), alert("two"), alert("three"))
    head = ledger.head()
    assert ledger.verify(head) == 3

    tamper(ledger, "DELETE FROM ledger WHERE seq = 3")

    assert ledger.verify() == 2
    with pytest.raises(ChainError, match="its tail was removed or rewritten"):
        ledger.verify(head)


def test_a_head_noted_earlier_still_holds_after_more_rows(ledger: Ledger) -> None:
    ledger.append(alert("one"))
    noted = ledger.head()
    ledger.append(alert("two"))

    assert ledger.verify(noted) == 2


def test_a_once_key_is_taken_once(ledger: Ledger) -> None:
    ledger.append(version("late-1"))

    with pytest.raises(AppendRefusedError, match="version:late-1"):
        ledger.append(version("late-1", name="20130501-bbbbbbbb"))

    assert len(ledger.read()) == 1
    ledger.append(version("late-2"))


def test_rows_of_one_append_are_all_recorded_or_none(ledger: Ledger) -> None:
    ledger.append(version("late-1"))

    with pytest.raises(AppendRefusedError):
        ledger.append(alert("before"), version("late-1"), alert("after"))

    assert [entry.row.kind for entry in ledger.read()] == ["version"]
    assert ledger.verify() == 1


def test_what_decide_raises_leaves_the_ledger_as_it_was_and_usable(ledger: Ledger) -> None:
    def refuse(history: History) -> Sequence[AnyRow]:
        raise AppendRefusedError("A row", "no")

    with pytest.raises(AppendRefusedError):
        ledger.transact(refuse)

    ledger.append(alert("still works"))
    assert ledger.verify() == 1


def test_decide_sees_what_another_writer_appended_before(database: Database, ledger: Ledger) -> None:
    other = database.ledger()
    other.append(alert("first"))
    seen: list[int] = []

    ledger.transact(lambda history: [alert(f"after {len(history)}")] if not seen.append(len(history)) else [])

    assert seen == [1]
    assert [entry.row.message for entry in other.read() if isinstance(entry.row, AlertRow)] == ["first", "after 1"]
