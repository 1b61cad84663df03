"""The status page, from facts."""

from datetime import UTC, datetime

from factories import version

from tasks.governance.status_page import page
from tasks.ledger.answers import ModelStatus
from tasks.ledger.chain import Entry

NOW = datetime(2026, 1, 10, 12, 30, tzinfo=UTC)
HELD = "batch 2013-02 of flights is quarantined: 5 % of departures missing"


def status(model: str, **more: object) -> ModelStatus:
    return ModelStatus.model_validate({"model": model, "dataset": "flights", "task": "binary", "waiting": (HELD,)} | more)


LIVE = status("late", version="20130501-aaaaaaaa", since=NOW, why="better | surely", window="2013-04", verdict="drift", verdict_reason="5 of 16 columns")


def test_each_model_says_what_is_live_since_when_why_and_how_it_does() -> None:
    found = page([LIVE], [], {"late": "http://127.0.0.1:3000"}, NOW, "http://ui/v2").markdown

    assert "| late | 20130501-aaaaaaaa | 2026-01-10 12:30 | 🟠 2013-04 drift: 5 of 16 columns | http://127.0.0.1:3000 |" in found
    assert r"- **late**: better \| surely" in found


def test_what_waits_for_a_person_is_said_once_and_on_the_card() -> None:
    found = page([LIVE, status("airtime")], [], {}, NOW, "http://ui/v2")

    assert found.markdown.count(HELD) == 1
    assert "waive/<dataset>" in found.markdown
    assert found.description == "⚠️ 1 wait for a person; 1 of 2 models live"


def test_when_nobody_is_needed_it_says_so() -> None:
    found = page([status("late", waiting=())], [], {}, NOW, "http://ui/v2")

    assert "## What waits for a person\nNothing." in found.markdown
    assert "waive/<dataset>" not in found.markdown
    assert found.description == "✅ nothing waits for a person; 0 of 1 models live"


def test_the_head_of_the_ledger_is_on_the_page_so_that_a_removed_tail_is_noticed() -> None:
    assert "1 rows, head `abc`" in page([], [Entry(1, "abc", version("late-1"))], {}, NOW, "http://ui/v2").markdown
