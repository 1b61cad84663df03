"""The `ratchet` command on a small ledger: what it says, as text and as JSON, and how it fails. No server is needed here."""

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from factories import batch, day, proposal, version
from standins import Place

from deployments import cli
from deployments.commands import outcome
from tasks.ledger.chain import Entry, Ledger
from tasks.ledger.rows import AnyRow, BatchRow, ClosedRow, DecisionRow, ReleaseRow, WaiverRow
from tasks.store import Store

LINE = (
    '{"v":1,"id":"0199-a","model":"late","version":"20130501-aaaaaaaa","release":"late-r1","role":"champion","event_time":"2013-05-01T08:00:00Z",'
    '"wall_time":"2026-01-01T08:00:00Z","row":{"distance":9.0},"score":12.5,"prediction":12.5,"flags":["range:distance"],"latency_us":90,"entity":""}\n'
)


def decision(name: str = "late-1", **more: object) -> DecisionRow:
    return DecisionRow.model_validate({"model": "late", "decision": name, "trigger": "drift", "action": "retrain", "reason": "drift", "proposal": 2} | more)


def release(name: str = "20130501-aaaaaaaa", step: str = "live") -> ReleaseRow:
    return ReleaseRow.model_validate({"model": "late", "release": "late-r1", "version": name, "step": step, "reason": "better", "actor": "ann"})


class Shell:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch
        self.code, self.out, self.err = 0, "", ""

    def __call__(self, *words: str) -> str:
        self.monkeypatch.setattr(sys, "argv", ["ratchet", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        self.code = int(caught.value.code or 0)
        self.out, self.err = self.capsys.readouterr()
        return self.out


@pytest.fixture
def shell(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name, value in place.environment.items():
        if name.startswith("RATCHET_"):
            monkeypatch.setenv(name, value)
    for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_UI_URL", "PREFECT_SERVER_API_HOST", "PREFECT_SERVER_API_PORT"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone after the test
        monkeypatch.delenv(name)
    return Shell(capsys, monkeypatch)


@pytest.fixture
def ledger(place: Place) -> Ledger:
    """One turn of the loop: a batch taken, one held, a version trained and live."""
    home = place.home
    home.mkdir()
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}", home)
    held = BatchRow(dataset="flights", batch="2013-02", verdict="quarantined", reason="a blizzard", ref="sha256:b")
    ledger.append(batch("2013-01", day(1)), proposal(), decision(), held, version("late-1"), release())
    ledger.append(ClosedRow(model="late", decision="late-1", outcome="promoted", reason="it answers"))
    log = home / "log/late/predictions/a.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(LINE.replace("0199-a", "0199-0") + LINE + LINE.replace("0199-a", "0199-b"))
    return ledger


def test_questions_need_neither_a_platform_nor_a_ledger_and_make_none(shell: Shell, place: Place) -> None:
    assert "air    -" in shell("status")
    assert "platform   down" in shell.out
    assert "holds nothing about late yet" in shell("history", "late")
    assert "No version of late is live" in shell("live", "late")
    assert json.loads(shell("live", "late", "--json")) is None
    assert "0 rows" in shell("verify")
    assert shell.code == 0
    assert not place.home.exists()


def test_status_says_what_is_live_and_what_waits(shell: Shell, ledger: Ledger) -> None:
    text = shell("status")

    assert "late   20130501-aaaaaaaa" in text
    assert "waits      batch 2013-02 of flights is quarantined: a blizzard" in text
    assert ledger.head() in text
    found = json.loads(shell("status", "--json"))
    assert found["head"] == ledger.head()
    assert found["up"] is False
    assert [(m["model"], m["version"]) for m in found["models"]] == [("air", ""), ("late", "20130501-aaaaaaaa")]


def test_history_tells_the_rows_of_a_model_and_its_dataset_in_order(shell: Shell, ledger: Ledger) -> None:
    lines = shell("history", "late").splitlines()

    assert len(lines) == 7
    assert lines[0].startswith("1  ")
    assert "batch 2013-01 of flights accepted" in lines[0]
    assert "decision late-1 closed, promoted" in lines[6]
    assert [row["kind"] for row in json.loads(shell("history", "late", "--json"))] == ["batch", "proposal", "decision", "batch", "version", "release", "closed"]


def test_live_answers_for_now_and_for_a_moment(shell: Shell, ledger: Ledger) -> None:
    recorded = ledger.read()[5].row.recorded_at
    assert recorded is not None

    assert "20130501-aaaaaaaa" in shell("live", "late")
    assert "No version of late was live" in shell("live", "late", "--at", (recorded - timedelta(seconds=1)).isoformat())
    assert json.loads(shell("live", "late", "--at", recorded.isoformat(), "--json"))["version"] == "20130501-aaaaaaaa"


def test_a_moment_without_a_zone_is_utc(shell: Shell, ledger: Ledger) -> None:
    assert "20130501-aaaaaaaa" in shell("live", "late", "--at", (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None).isoformat())
    shell("live", "late", "--at", "yesterday")
    assert shell.code == 2
    assert "no ISO 8601 time" in shell.err


def test_why_explains_an_answered_row_from_the_log_back_to_the_proposal(shell: Shell, ledger: Ledger) -> None:
    text = shell("why", "0199-a")

    for expected in ("12.5 (score 12.5, flagged range:distance)", "distance=9.0", "late-r1 live", "boosting in onnx", "drift in 5 of 16 columns", "snapshot s"):
        assert expected in text
    found = json.loads(shell("why", "0199-a", "--json"))
    assert found["prediction"]["id"] == "0199-a"
    assert found["version"]["version"] == "20130501-aaaaaaaa"
    assert found["decision"]["decision"] == "late-1"


def test_why_names_who_let_a_batch_in_that_its_suite_had_stopped(shell: Shell, ledger: Ledger, place: Place) -> None:
    assert "none was asked for" in shell("why", "0199-a")

    snapshot = json.dumps({"batches": [{"batch": "2013-02", "ref": "sha256:b"}]}).encode()
    trained = version("late-2").model_copy(update={"version": "20130601-bbbbbbbb", "snapshot": str(Store(f"file://{place.home / 'store'}").put(snapshot))})
    ledger.append(WaiverRow(actor="ann", dataset="flights", batch="2013-02", ref="sha256:b", reason="the blizzard was real"), decision("late-2"), trained)

    assert "batch 2013-02 of flights let in by ann: the blizzard was real" in shell("why", "20130601-bbbbbbbb")
    assert [row["actor"] for row in json.loads(shell("why", "20130601-bbbbbbbb", "--json"))["approvals"]] == ["ann"]


def test_why_finds_an_answered_row_in_a_shipped_log(shell: Shell, ledger: Ledger, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.home / "log").rename(place.home / "shipped")
    monkeypatch.setenv("RATCHET_LOG_URL", f"file://{place.home}/shipped")

    assert "distance=9.0" in shell("why", "0199-a")
    assert "proposed (drift)" in shell("why", "late-1")
    assert "no answered row" in (shell("why", "0199-x"), shell.err)[1]


@pytest.mark.parametrize("name", ["late-1", "late-r1", "20130501-aaaaaaaa"])
def test_why_explains_a_decision_a_release_and_a_version(shell: Shell, ledger: Ledger, name: str) -> None:
    assert "proposed (drift)" in shell("why", name)
    assert shell.code == 0


def test_models_and_datasets_are_listed(shell: Shell, ledger: Ledger) -> None:
    assert [(m["model"], m["versions"], m["live"]) for m in json.loads(shell("models", "--json"))] == [("air", 0, ""), ("late", 1, "20130501-aaaaaaaa")]
    [flights] = json.loads(shell("datasets", "--json"))
    assert (flights["accepted"], flights["quarantined"], flights["models"]) == (1, 1, "air, late")
    assert "How late?" in shell("models")
    assert "flights" in shell("datasets")


def test_verify_holds_and_knows_an_earlier_head(shell: Shell, ledger: Ledger) -> None:
    noted = ledger.read()[2].hash

    assert f"7 rows, head {ledger.head()}" in shell("verify")
    assert json.loads(shell("verify", "--head", noted, "--json")) == {"rows": 7, "head": ledger.head()}


def test_verify_names_the_row_where_one_byte_was_changed(shell: Shell, ledger: Ledger, place: Place) -> None:
    with sqlite3.connect(place.home / "ledger.db") as connection:
        connection.execute("UPDATE ledger SET body = replace(body, 'blizzard', 'blizzarD') WHERE seq = 4")

    shell("verify")

    assert shell.code == 2
    assert shell.err == "ratchet: Ledger row 4: its text is not the text that was recorded. Restore the ledger from a backup; do not append to it.\n"


def test_verify_notices_a_removed_tail_when_it_is_given_the_head(shell: Shell, ledger: Ledger, place: Place) -> None:
    head = ledger.head()
    with sqlite3.connect(place.home / "ledger.db") as connection:
        connection.execute("DELETE FROM ledger WHERE seq = 7")

    shell("verify")
    assert shell.code == 0
    shell("verify", "--head", head)
    assert shell.code == 2
    assert "its tail was removed" in shell.err


def test_verify_notices_that_the_whole_ledger_is_gone_when_it_is_given_the_head(shell: Shell) -> None:
    shell("verify", "--head", "a" * 64)

    assert shell.code == 2
    assert "its tail was removed" in shell.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("history", "lat"), "there is no model 'lat' (known: air, late). Did you mean 'late'?"),
        (("why", "nonsense"), "there is no answered row, decision, version or release 'nonsense'"),
        (("train", "lat"), "there is no model 'lat'"),
        (("ingest", "flight"), "there is no dataset 'flight'"),
        (("release", "late"), "does not answer"),
        (("pause", "late"), "does not answer"),
    ],
)
def test_an_error_of_ours_is_one_line_on_stderr_and_exit_code_2(shell: Shell, words: tuple[str, ...], message: str) -> None:
    shell(*words)

    assert shell.code == 2
    assert shell.err.startswith("ratchet: ")
    assert message in shell.err
    assert shell.err.count("\n") == 1


def test_a_wrong_variable_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_UI_PORT", "many")

    shell("status")

    assert shell.code == 2
    assert "RATCHET_UI_PORT: Input should be a valid integer" in shell.err


def test_a_file_that_is_no_ledger_is_a_clear_error(shell: Shell, place: Place) -> None:
    place.home.mkdir()
    (place.home / "ledger.db").write_text("this is not a database, and it is long enough to be looked at as one " * 20)

    shell("status")

    assert shell.code == 2
    assert "cannot be read" in shell.err
    assert shell.err.count("\n") == 1


def test_asking_the_ledger_imports_nothing_heavy(place: Place, ledger: Ledger) -> None:
    program = "import sys; from deployments import cli; sys.argv = ['ratchet', 'status']\ntry: cli.main()\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    heavy = ("prefect", "pandas", "sklearn", "evidently", "great_expectations", "bentoml", "onnxruntime", "optuna", "fsspec")

    done = subprocess.run([sys.executable, "-c", program], env=place.environment, capture_output=True, text=True, check=True)

    assert "20130501-aaaaaaaa" in done.stdout
    assert not [name for name in heavy if f"'{name}'" in done.stdout]


def added(*rows: AnyRow) -> list[Entry]:
    return [Entry(seq, "", row) for seq, row in enumerate(rows, 1)]


def test_ingest_is_done_only_when_no_batch_was_set_aside() -> None:
    held = BatchRow(dataset="flights", batch="2013-02", verdict="quarantined", reason="a blizzard")

    assert outcome.ingested(added(batch("2013-01", day(1))), "flights").done
    assert not outcome.ingested(added(batch("2013-01", day(1)), held), "flights").done
    assert not outcome.ingested(added(), "flights").done


def test_training_is_done_only_when_its_decision_ended_in_a_promotion() -> None:
    promoted = ClosedRow(model="late", decision="late-1", outcome="promoted", reason="it answers")
    refused = promoted.model_copy(update={"outcome": "refused", "reason": "no gain"})
    ignored = decision(decision="", run="run", action="ignore", reason="another one is open")

    assert outcome.trained(added(decision(run="run")), ["run"]) is None
    assert outcome.trained(added(decision(run="run"), promoted), ["run"]) == outcome.Outcome(True, "decision late-1 closed, promoted: it answers")
    assert outcome.trained(added(decision(run="run"), refused), ["run"]) == outcome.Outcome(False, "decision late-1 closed, refused: no gain")
    assert outcome.trained(added(ignored), ["run"]) == outcome.Outcome(False, "nothing was trained: another one is open")
    assert outcome.trained(added(decision(run="another run"), promoted), ["run"]) == outcome.Outcome(False, "the run ended before anything was decided")


def test_a_release_that_was_undone_is_not_done() -> None:
    assert outcome.released(added(release(step="started"), release()), "late").done
    assert not outcome.released(added(release(step="started"), release(step="undone")), "late").done
    assert not outcome.released(added(), "late").done


def test_a_waiver_is_done_when_it_is_recorded() -> None:
    waiver = WaiverRow(dataset="flights", batch="2013-02", ref="sha256:b", actor="ann", reason="a real blizzard")

    assert outcome.waived(added(waiver), "flights", "2013-02").done
    assert not outcome.waived(added(), "flights", "2013-02").done
