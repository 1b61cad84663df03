"""What a start says, that stopping leaves nothing behind, and that starting again goes on from the ledger."""

import json
import signal
import time

from platform_up import DOWN_SECONDS, Platform, until

from tasks.ledger.questions import live, open_decisions, rows
from tasks.ledger.rows import VersionRow


def test_a_start_says_what_it_set_aside_brings_every_model_live_and_refuses_a_second_one(platform: Platform) -> None:
    assert b"batch 2013-02 of flights is quarantined: " in platform.said()
    assert b"\x1b" not in platform.said()

    status = json.loads(platform.ratchet("status", "--json").stdout)
    assert all(model["version"] for model in status["models"])
    assert status["up"] is True
    assert platform.ratchet("up").stderr.startswith("ratchet: `ratchet up` is running already")


def test_stopped_it_leaves_no_process_and_no_run_under_way_and_started_again_the_same_champions_answer(platform: Platform) -> None:
    until(lambda: settled(platform), 400, "earlier trainings to end")
    replay = platform.start("replay/flights", {"dataset": "flights", "batches": ["2013-09"], "requests": 50_000})
    until(lambda: platform.state(replay) == "RUNNING", 240, "something to be under way when it stops")
    before = {model: live(platform.history(), model) for model in ("flights_late", "flights_airtime")}
    versions = len(rows(platform.history(), VersionRow))

    platform.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    platform.process.send_signal(signal.SIGINT)  # who is impatient loses nothing
    assert platform.process.wait(DOWN_SECONDS) == 0
    assert platform.processes() == []
    assert platform.unfinished_runs() == []
    assert platform.state(replay) == "CANCELLED"
    assert platform.ratchet("down").stdout == "nothing was running\n"

    platform.boot()
    for model, release in before.items():
        assert release is not None
        assert platform.predict(model)["release"] == release.release
    assert len(rows(platform.history(), VersionRow)) == versions, "nothing was retrained"
    assert platform.ratchet("verify").returncode == 0


def settled(platform: Platform) -> bool:
    """No run but the schedules' is under way, and none is owed: a training that an earlier test started may not have decided yet."""
    return platform.asked_for_runs() == [] and not any(open_decisions(platform.history(), model) for model in platform.here.project.models())
