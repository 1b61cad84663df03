"""What is killed comes back, and whatever happens a decision has exactly one version."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from platform_up import Platform, until

from tasks.ledger.questions import attempts, live, open_decisions, rows, version
from tasks.ledger.rows import ClosedRow, DecisionRow, ReleaseRow, VersionRow
from tasks.store import Ref

MODEL = "flights_late"


def pids(mark: str, inside: str) -> list[int]:
    """Processes with a text in their environment or command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / inside).read_bytes().replace(b"\0", b" "):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill(platform: Platform, program: str) -> None:
    """kill -9 of a program of this platform, told by its command line."""
    own = set(pids(f"RATCHET_HOME={platform.home}", "environ"))
    victims = own & set(pids(program, "cmdline"))
    assert victims, f"nothing runs {program}"
    kill_all(victims)


def kill_all(victims: Iterable[int]) -> None:
    """kill -9 of processes, of which some may be ending by themselves."""
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def decided_in(platform: Platform, run: str) -> list[DecisionRow]:
    """The decision to retrain that a run came to; a schedule's run may decide something beside it."""
    return rows(platform.history(), DecisionRow, model=MODEL, action="retrain", run=run)


def test_a_training_killed_between_decision_and_registration_is_tried_again_and_gives_one_version(platform: Platform) -> None:
    until(lambda: not open_decisions(platform.history(), MODEL), 300, "earlier decisions to end")
    run = platform.start(f"train/{MODEL}", {"model": MODEL})
    until(lambda: bool(decided_in(platform, run)), 240, "the decision")
    decision = decided_in(platform, run)[0].decision
    until(lambda: bool(attempts(platform.history(), decision)), 120, "its first attempt to be granted")

    victims = pids(f"PREFECT__FLOW_RUN_ID={run}", "environ")
    assert victims
    kill_all(victims)
    assert rows(platform.history(), VersionRow, decision=decision) == [], "it was killed before it registered"

    until(lambda: not open_decisions(platform.history(), MODEL), 600, "the decision to end")
    assert len(rows(platform.history(), VersionRow, decision=decision)) == 1
    assert len(attempts(platform.history(), decision)) == 2
    assert rows(platform.history(), ClosedRow, decision=decision)[0].outcome in {"promoted", "refused"}


@pytest.mark.parametrize("program", ["prefect worker", "prefect server"])
def test_a_killed_part_of_the_platform_is_started_again(platform: Platform, program: str) -> None:
    kill(platform, program)

    assert platform.predict()["model"] == MODEL, "the endpoint does not notice"
    until(lambda: healthy(platform), 240, "the API to answer again")
    assert platform.finished(platform.start(f"monitor/{MODEL}", {"model": MODEL}), 400) == "COMPLETED"


def test_the_whole_serving_side_killed_comes_back_with_the_same_release(platform: Platform) -> None:
    release = live(platform.history(), MODEL)
    assert release is not None
    kill(platform, "tasks.release.supervisor")

    until(lambda: answers(platform, release.release), 240, "the same release to answer again")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"rows": []}', b'{"rows": [{}]}', b'{"rows": [{"distance": "far"}]}', b"\xff\xfe", b'{"rows": NaN}'])
def test_nonsense_is_refused_in_one_shape_and_the_champion_goes_on_answering(platform: Platform, body: bytes) -> None:
    url = f"http://127.0.0.1:{platform.ports[MODEL]}/predict"

    refused = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=60)

    assert refused.status_code == 400
    assert set(refused.json()["error"]) == {"code", "message", "fields"}
    assert platform.predict()["answers"]


def test_an_unreadable_batch_is_set_aside_with_the_reason(platform: Platform, tmp_path: Path) -> None:
    broken = tmp_path / "2013-08.parquet"
    broken.write_bytes(b"PAR1 this is no Parquet")

    done = platform.ratchet("ingest", "flights", "2013-08", "--uri", broken.as_uri(), "--wait")

    assert done.returncode == 1
    assert "2013-08" in done.stdout + done.stderr
    assert "quarantined" in platform.ratchet("datasets").stdout


def healthy(platform: Platform) -> bool:
    try:
        return httpx.get(f"{platform.env['PREFECT_API_URL']}/health", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def answers(platform: Platform, release: str) -> bool:
    try:
        return bool(platform.predict()["release"] == release)
    except httpx.HTTPError:
        return False


def test_a_release_whose_bytes_were_changed_is_undone_and_the_champion_goes_on(platform: Platform) -> None:
    before = live(platform.history(), MODEL)
    assert before is not None
    back = version(platform.history(), MODEL, before.previous)
    file = platform.home / "store" / Ref.parse(back.bento).key
    whole = file.read_bytes()
    file.write_bytes(whole[:-2_000] + b"\1" + whole[-1_999:])

    refused = platform.ratchet("rollback", MODEL, "--wait")
    file.write_bytes(whole)

    assert refused.returncode == 1
    newest = rows(platform.history(), ReleaseRow, model=MODEL)[-1]
    assert newest.step == "undone"
    assert "were changed" in newest.reason
    assert platform.predict()["release"] == before.release


def test_one_changed_byte_of_the_ledger_is_named(platform: Platform, tmp_path: Path) -> None:
    copy = tmp_path / "ledger.db"
    with sqlite3.connect(platform.home / "ledger.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE ledger SET body = replace(body, 'quarantined', 'quarantinef') WHERE seq = 2")
    target.close()

    told = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "verify"],
        env=platform.env | {"RATCHET_LEDGER_URL": f"sqlite:///{copy}"},
        cwd=platform.project,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 2
    assert "row 2" in told.stderr
