"""reconcile's look at a target: it serves what the ledger calls live, however a release run died."""

from collections.abc import Iterator
from pathlib import Path

import hosting
import pytest
from prefect import flow

from bentos.runtime.release import Release
from tasks.installation import Installation
from tasks.ledger.questions import rows
from tasks.ledger.rows import ReleaseRow
from tasks.release import steps
from tasks.release.local import LocalTarget
from tasks.release.steps import restore_live_release, target
from tasks.store import Ref

pytestmark = pytest.mark.usefixtures("prefect_client")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation whose supervisor runs, with an empty ledger."""
    settings = hosting.settings(tmp_path)
    for name in ("home", "project", "endpoint_port", "drain_seconds", "ready_seconds"):
        monkeypatch.setenv(f"RATCHET_{name.upper()}", str(getattr(settings, name)))
    with hosting.supervisor(settings):
        yield Installation.of()


def released(here: Installation, number: int, *taken: str, serve: bool = True) -> Release:
    """A release as a run that died has left it: in the ledger these steps, on the target perhaps served."""
    release, store = hosting.stored(hosting.bento(float(number)), number)
    here.store.put(store.get(Ref.parse(release.bento)), ".tar")
    if serve:
        LocalTarget(here.settings).apply(release, here.store)
        LocalTarget(here.settings).wait_ready(release, 120)
    for step in taken:
        row = ReleaseRow(model="toy", release=release.id, version=release.version, step=step, reason="", object=release.model_dump(mode="json"))
        here.ledger.append(row)
    return release


@flow
def restore() -> None:
    restore_live_release("toy")


def test_a_release_that_answers_and_was_never_recorded_gives_way_to_the_live_one(here: Installation) -> None:
    live = released(here, 1, "started", "live")
    orphan = released(here, 2, "started")

    restore()

    assert LocalTarget(here.settings).status()["toy"].release == live.id
    assert [row.step for row in rows(here.ledger.read(), ReleaseRow, release=orphan.id)] == ["started", "undone"]


def test_a_first_release_that_was_never_recorded_is_served_no_more(here: Installation) -> None:
    orphan = released(here, 1, "started")

    restore()

    assert LocalTarget(here.settings).status() == {}
    assert [row.step for row in rows(here.ledger.read(), ReleaseRow, release=orphan.id)] == ["started", "undone"]


def test_a_release_that_goes_live_while_its_run_is_asked_after_is_not_undone(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    released(here, 1, "started", "live")
    second = released(here, 2, "started")
    [started] = rows(here.ledger.read(), ReleaseRow, release=second.id)

    def has_ended(_run: str) -> bool:
        here.ledger.append(started.model_copy(update={"step": "live"}))
        return False

    monkeypatch.setattr(steps, "_under_way", has_ended)
    restore()

    assert [row.step for row in rows(here.ledger.read(), ReleaseRow, release=second.id)] == ["started", "live"]
    assert LocalTarget(here.settings).status()["toy"].release == second.id


def test_a_run_that_reconcile_gave_up_and_that_goes_on_does_not_take_its_release_back(here: Installation) -> None:
    first = released(here, 1, "started", "live")
    second = released(here, 2, "started", "undone", serve=False)

    @flow
    def going_on() -> str:
        return steps.roll_out(steps.Plan(second, first.version, "", "operator", "better"), "").step

    assert going_on() == "undone"
    assert [row.step for row in rows(here.ledger.read(), ReleaseRow, release=second.id)] == ["started", "undone"]
    restore()
    assert LocalTarget(here.settings).status()["toy"].release == first.id


def test_what_is_live_and_answers_is_left_alone(here: Installation) -> None:
    released(here, 1, "started", "live")
    before = LocalTarget(here.settings).status()["toy"]

    restore()

    assert LocalTarget(here.settings).status()["toy"] == before


def test_the_settings_say_which_target_it_is_and_every_target_knows_the_endpoints(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    released(here, 1, "started", "live")
    assert target().addresses() == {"toy": f"http://127.0.0.1:{here.settings.endpoint_port}"}

    monkeypatch.setenv("RATCHET_TARGET", "kubernetes")
    assert target().addresses() == {"toy": "http://toy.ratchet-serving.svc:3000"}
