"""Questions asked of the ledger, on histories small enough to check by eye."""

from datetime import UTC, datetime, timedelta

import pytest
from factories import batch, day, version

from tasks.errors import UnknownNameError
from tasks.ledger import questions
from tasks.ledger.chain import Entry, History
from tasks.ledger.rows import AlertRow, AnyRow, BatchRow, ClosedRow, DecisionRow, ReleaseRow, WaiverRow

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def history(*rows: AnyRow) -> History:
    """Rows recorded one hour after the other, from `at(1)` on."""
    return [Entry(seq, f"hash {seq}", row.model_copy(update={"recorded_at": at(seq)})) for seq, row in enumerate(rows, 1)]


def live(name: str, before: str = "") -> ReleaseRow:
    return ReleaseRow(model="late", release=f"release of {name}", version=name, step="live", reason="better", previous=before)


def held(name: str, ref: str = "sha256:first") -> BatchRow:
    return BatchRow(dataset="flights", batch=name, verdict="quarantined", reason="blizzard", ref=ref, end=day(28))


def retrain(name: str) -> DecisionRow:
    return DecisionRow(model="late", decision=name, trigger="drift", action="retrain", reason="drift", proposal=1)


def test_nothing_is_live_before_the_first_release() -> None:
    assert questions.live(history(batch("2013-01", day(1))), "late") is None


def test_the_newest_live_release_answers() -> None:
    release = questions.live(history(live("a"), live("b", "a")), "late")

    assert release is not None
    assert release.version == "b"
    assert questions.previous(history(live("a"), live("b", "a")), "late") == "a"


@pytest.mark.parametrize(("hour", "expected"), [(0, None), (1, "a"), (2, "a"), (3, "b"), (9, "b")])
def test_live_at_a_moment_is_what_answered_then(hour: int, expected: str | None) -> None:
    told = history(live("a"), AlertRow(subject="late", message="nothing to do with it"), live("b", "a"))

    release = questions.live(told, "late", at(hour))

    assert (release.version if release else None) == expected


def test_a_release_that_only_started_or_was_undone_is_not_live() -> None:
    started = live("b", "a").model_copy(update={"step": "started"})
    undone = live("b", "a").model_copy(update={"step": "undone"})

    release = questions.live(history(live("a"), started, undone), "late")

    assert release is not None
    assert release.version == "a"


def test_another_models_release_does_not_count() -> None:
    assert questions.live(history(live("a")), "airtime") is None


def test_a_quarantined_batch_trains_only_with_a_waiver_for_those_bytes() -> None:
    waiver = WaiverRow(dataset="flights", batch="2013-02", ref="sha256:first", reason="a real blizzard", actor="ann")
    other = held("2013-02", "sha256:second")

    assert questions.accepted(history(held("2013-02")), "flights") == []
    assert [b.batch for b in questions.accepted(history(held("2013-02"), waiver), "flights")] == ["2013-02"]
    assert questions.quarantined(history(held("2013-02"), waiver), "flights") == []
    assert questions.accepted(history(held("2013-02"), waiver, other), "flights") == []
    assert [b.ref for b in questions.quarantined(history(held("2013-02"), waiver, other), "flights")] == ["sha256:second"]


def test_accepted_batches_come_in_the_order_of_their_time_whatever_the_order_of_arrival() -> None:
    told = history(batch("2013-03", day(3)), batch("2013-01", day(1)), batch("2013-02", day(2)))

    assert [b.batch for b in questions.accepted(told, "flights")] == ["2013-01", "2013-02", "2013-03"]


def test_a_batch_taken_again_replaces_the_earlier_one() -> None:
    again = batch("2013-01", day(1)).model_copy(update={"rows": 99})

    assert [b.rows for b in questions.accepted(history(batch("2013-01", day(1)), again), "flights")] == [99]


def test_a_decision_is_open_until_it_is_closed() -> None:
    closed = ClosedRow(model="late", decision="late-1", outcome="refused", reason="no gain")

    assert [d.decision for d in questions.open_decisions(history(retrain("late-1"), retrain("late-2")), "late")] == ["late-1", "late-2"]
    assert [d.decision for d in questions.open_decisions(history(retrain("late-1"), retrain("late-2"), closed), "late")] == ["late-2"]


def test_a_decision_waits_for_rows_newer_than_the_champion_has_seen() -> None:
    told = [version("late-1", seen_until=day(10), name="a"), live("a"), retrain("late-2")]

    assert questions.waits_for_rows(history(*told, batch("2013-01", day(10))), retrain("late-2"), "flights")
    assert not questions.waits_for_rows(history(*told, batch("2013-02", day(11))), retrain("late-2"), "flights")


def test_a_first_training_waits_for_any_row_at_all() -> None:
    assert questions.waits_for_rows(history(retrain("late-1")), retrain("late-1"), "flights")
    assert not questions.waits_for_rows(history(batch("2013-01", day(1))), retrain("late-1"), "flights")


def test_a_drill_waits_for_nothing() -> None:
    drill = retrain("late-2").model_copy(update={"drill": "shuffled_labels"})

    assert not questions.waits_for_rows(history(version("late-1", seen_until=day(10), name="a"), live("a")), drill, "flights")


def test_a_version_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(UnknownNameError, match=r"20130501-aaaaaaab.*Did you mean '20130501-aaaaaaaa'"):
        questions.version(history(version("late-1")), "late", "20130501-aaaaaaab")


def test_what_concerns_a_model_is_its_own_and_its_datasets() -> None:
    told = history(batch("2013-01", day(1)), AlertRow(subject="airtime", message="x"), retrain("late-1"), AlertRow(subject="late", message="y"))

    assert [entry.seq for entry in questions.about(told, "late", "flights")] == [1, 3, 4]
