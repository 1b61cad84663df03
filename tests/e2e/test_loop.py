"""The table of the demo, row by row, on a live platform: what each fault must lead to, without a person."""

import json

from platform_up import Platform, until

from tasks.ledger.questions import live, open_decisions, retrain_decisions, rows, windows
from tasks.ledger.rows import AlertRow, BatchRow, ClosedRow, DecisionRow, VersionRow, WindowRow

MODEL = "flights_late"
REQUESTS = 6_000


def replayed(platform: Platform, batch: str, fault: str = "none") -> tuple[WindowRow | None, list[DecisionRow]]:
    """Replay a month; the window as it was judged, and the decisions to retrain that it led to."""
    before = len(retrain_decisions(platform.history(), MODEL))
    run = platform.start("replay/flights", {"dataset": "flights", "batches": [batch], "requests": REQUESTS, "fault": fault})
    assert platform.finished(run) == "COMPLETED"
    until(lambda: not open_decisions(platform.history(), MODEL), 300, "its decisions to end")
    history = platform.history()
    return next((w for w in windows(history, MODEL) if w.window == batch), None), retrain_decisions(history, MODEL)[before:]


def the_version(platform: Platform, decision: DecisionRow) -> VersionRow:
    found = rows(platform.history(), VersionRow, decision=decision.decision)
    assert len(found) == 1, "exactly one version a decision"
    return found[0]


def test_february_is_set_aside_and_the_first_models_are_live(platform: Platform) -> None:
    taken = {row.batch: row for row in rows(platform.history(), BatchRow)}

    assert taken["2013-02"].verdict == "quarantined"
    assert "dep_delay" in taken["2013-02"].reason
    assert taken["2013-01"].verdict == taken["2013-03"].verdict == "accepted"
    assert platform.predict("flights_late")["version"] == getattr(live(platform.history(), "flights_late"), "version", "")
    assert platform.predict("flights_airtime")["version"].startswith("201303")


def test_a_stable_month_leads_to_no_decision(platform: Platform) -> None:
    window, decisions = replayed(platform, "2013-04")

    assert window is not None
    assert (window.verdict, decisions) == ("stable", [])
    assert window.labelled > 0.9 * window.rows


def test_natural_drift_leads_to_one_retraining_that_is_promoted_because_it_is_better(platform: Platform) -> None:
    window, decisions = replayed(platform, "2013-05")

    assert window is not None
    assert window.verdict == "drift"
    assert [d.trigger for d in decisions] == ["drift"]
    version = the_version(platform, decisions[0])
    assert version.gate.accepted
    assert version.gate.gain is not None
    assert version.gate.gain[0] > 0.005
    assert platform.predict()["version"] == version.version


def test_a_rollback_brings_the_previous_version_back_and_can_be_undone(platform: Platform) -> None:
    before = live(platform.history(), MODEL)
    assert before is not None

    back = platform.ratchet("rollback", MODEL, "--approver", "operator", "--reason", "a drill", "--wait")
    assert back.returncode == 0, back.stderr
    assert platform.predict()["version"] == before.previous
    assert live(platform.history(), MODEL).actor == "operator"  # type: ignore[union-attr]

    assert platform.finished(platform.start(f"rollback/{MODEL}", {"model": MODEL, "version": "previous"})) == "COMPLETED"
    assert platform.predict()["version"] == before.version


def test_a_changed_concept_is_seen_as_decay_and_answered_with_a_better_model(platform: Platform) -> None:
    window, decisions = replayed(platform, "2013-06", "concept_change")

    assert window is not None
    assert window.verdict == "decay"
    assert [d.trigger for d in decisions] == ["decay"]
    version = the_version(platform, decisions[0])
    assert version.gate.accepted
    assert platform.predict()["version"] == version.version


def test_a_broken_feature_raises_an_alert_and_retrains_nothing(platform: Platform) -> None:
    window, decisions = replayed(platform, "2013-07", "unit_change")

    assert window is not None
    assert (window.verdict, decisions) == ("broken", [])
    assert any("distance" in finding.column for finding in window.findings)
    assert any("2013-07" in alert.message for alert in rows(platform.history(), AlertRow, subject=MODEL))


def test_shuffled_labels_are_refused_and_the_champion_goes_on(platform: Platform) -> None:
    champion, seen = platform.predict()["version"], len(platform.history())

    drill = platform.ratchet("train", MODEL, "--drill", "shuffled_labels", "--wait")

    assert drill.returncode == 1, "a refused training is no success"
    [closed] = rows(platform.history()[seen:], ClosedRow, model=MODEL)
    assert closed.outcome == "refused"
    assert platform.predict()["version"] == champion


def test_why_explains_an_answered_row_up_to_its_data_and_code(platform: Platform) -> None:
    answer = platform.predict()

    told = platform.ratchet("why", answer["answers"][0]["id"], "--json")

    assert told.returncode == 0, told.stderr
    content = json.loads(told.stdout)
    assert content["version"]["version"] == answer["version"]
    assert content["version"]["snapshot"].startswith("sha256:")
    assert content["prediction"]["row"]["carrier"]


def test_no_replayed_request_failed(platform: Platform) -> None:
    import pyarrow.parquet as pq

    ids = [i for path in (platform.home / "inbox").rglob("*.sent.parquet") for i in pq.read_table(path, columns=["id"])["id"].to_pylist()]

    assert len(ids) >= 8 * REQUESTS
    assert all(ids)
