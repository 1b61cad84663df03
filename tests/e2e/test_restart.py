"""Stopping leaves nothing behind, and starting again goes on from the ledger."""

from platform_up import Platform, until

from tasks.ledger.questions import live, open_decisions, rows
from tasks.ledger.rows import VersionRow


def test_stopped_it_leaves_no_process_and_no_run_under_way_and_started_again_the_same_champions_answer(platform: Platform) -> None:
    until(lambda: not any(open_decisions(platform.history(), model) for model in platform.here.project.models()), 120, "earlier trainings to end")
    platform.start("replay/flights", {"dataset": "flights", "batches": ["2013-09"], "requests": 50_000})  # something is under way when it stops
    before = {model: live(platform.history(), model) for model in ("flights_late", "flights_airtime")}
    versions = len(rows(platform.history(), VersionRow))

    assert platform.stop() == 0
    assert platform.processes() == []
    assert platform.unfinished_runs() == []

    platform.boot()
    for model, release in before.items():
        assert release is not None
        assert platform.predict(model)["release"] == release.release
    assert len(rows(platform.history(), VersionRow)) == versions, "nothing was retrained"
    assert platform.ratchet("verify").returncode == 0
