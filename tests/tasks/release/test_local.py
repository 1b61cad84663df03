"""Releases on this machine: a swap loses no request, and whatever fails, the release before goes on answering."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hosting
import httpx
import pytest
from callers import Callers, predict

from bentos.runtime.log import read_lines
from bentos.runtime.release import Release
from tasks.errors import ReleaseError
from tasks.release.local import LocalTarget
from tasks.release.target import ServingStatus
from tasks.settings import Settings
from tasks.store import Store


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running supervisor in a folder so deep that its sockets need short names."""
    settings = hosting.settings(tmp_path_factory.mktemp("home") / ("deep" * 25))
    with hosting.supervisor(settings):
        yield settings


@pytest.fixture
def target(settings: Settings) -> LocalTarget:
    return LocalTarget(settings)


def serve(target: LocalTarget, bento: Path, number: int) -> Release:
    """Take a bento live."""
    release, store = hosting.stored(bento, number)
    target.apply(release, store)
    target.wait_ready(release, 120)
    return release


def until(target: LocalTarget, true: Callable[[ServingStatus], bool]) -> ServingStatus:
    """The status of the toy as soon as something is true of it."""
    deadline = time.monotonic() + 120
    while not true(status := target.status()["toy"]):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_swaps_under_load_lose_no_request(target: LocalTarget) -> None:
    serve(target, hosting.bento(1.0), 1)
    port = target.status()["toy"].port

    with Callers(port) as callers:
        for number in (2, 3):
            release = serve(target, hosting.bento(float(number - 1)), number)
            while release.id not in callers.answered:
                time.sleep(0.01)

    assert callers.failed == []
    assert set(callers.answered) == {"toy-r1", "toy-r2", "toy-r3"}
    assert target.status()["toy"].port == port
    logged = list(read_lines(target.settings.logs / "toy" / "predictions"))
    assert len(logged) == len(callers.answered), "every answer is in the log, and nothing but answers"


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed; .ci/run installs it")
def test_swaps_under_wrk_lose_no_request(target: LocalTarget, tmp_path: Path) -> None:
    """wrk with 8 connections, as hard as it can: it reports every reply that is no 2xx, and every broken connection."""
    serve(target, hosting.bento(1.0), 1)
    script = tmp_path / "post.lua"
    script.write_text('wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", [[{"rows":[{"x":1.0}]}]], "application/json"')
    url = f"http://127.0.0.1:{target.status()['toy'].port}/predict"

    load = subprocess.Popen(["wrk", "-t1", "-c8", "-d8s", "--timeout=60s", "-s", str(script), url], stdout=subprocess.PIPE, text=True)
    for number in (2, 3, 4):
        serve(target, hosting.bento(float(number - 1)), number)
    told, _ = load.communicate(timeout=120)

    assert "Requests/sec" in told
    assert "Non-2xx" not in told, told
    assert "Socket errors" not in told, told
    assert predict(target.status()["toy"].port)["release"] == "toy-r4"


def test_a_release_that_never_gets_ready_is_told_with_its_cause_and_the_old_one_answers(target: LocalTarget) -> None:
    good = serve(target, hosting.bento(1.0), 1)
    before = target.status()["toy"]
    broken, store = hosting.stored(hosting.bento(1.0, 2.0), 2)

    target.apply(broken, store)
    with pytest.raises(ReleaseError, match="ValueError: .*scores its golden rows otherwise.*The release before it goes on answering"):
        target.wait_ready(broken, 120)

    after = target.status()["toy"]
    assert predict(after.port)["release"] == good.id
    assert (after.release, after.state, after.pid, after.since) == (good.id, "live", before.pid, before.since)


def test_a_bento_with_other_bytes_than_the_release_names_is_refused(target: LocalTarget) -> None:
    good = serve(target, hosting.bento(1.0), 1)
    release, store = hosting.stored(hosting.bento(2.0), 2)
    other = release.model_copy(update={"artefact": good.artefact})

    target.apply(other, store)
    with pytest.raises(ReleaseError, match="the model at .* has digest .* but the release names"):
        target.wait_ready(other, 120)

    assert predict(target.status()["toy"].port)["release"] == good.id


def test_a_fetched_bento_that_somebody_changed_is_fetched_again(target: LocalTarget) -> None:
    release = serve(target, hosting.bento(2.0), 1)
    service = next(target.settings.serving.glob(f"bentos/{release.bento[7:23]}/src/bentos/toy/service.py"))
    service.write_text("raise SystemExit('tampered')")

    again = serve(target, hosting.bento(2.0), 2)

    assert predict(target.status()["toy"].port)["release"] == again.id


def test_a_bento_is_kept_while_it_is_served_or_was_before_and_a_rollback_needs_no_store(target: LocalTarget, tmp_path: Path) -> None:
    folder = target.settings.serving / "bentos"
    first, second, third = (serve(target, hosting.bento(float(number)), number) for number in (1, 2, 3))
    while (folder / first.bento[7:23]).exists() or len(list((target.settings.serving / "run").iterdir())) > 1:
        time.sleep(0.02)

    (folder / "left").mkdir()
    serve(target, hosting.bento(3.0), 4)
    while (folder / "left").exists():
        time.sleep(0.02)

    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {second.bento[7:23], third.bento[7:23]}
    target.apply(second, Store(f"file://{tmp_path}"))
    target.wait_ready(second, 120)
    assert predict(target.status()["toy"].port)["release"] == second.id


@pytest.mark.slow
def test_a_bento_is_kept_while_an_old_process_still_answers_from_it(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path, drain_seconds=60.0)
    with hosting.supervisor(settings), httpx.Client() as caller:
        target = LocalTarget(settings)
        first = serve(target, hosting.bento(1.0), 1)
        url = f"http://127.0.0.1:{settings.endpoint_port}/predict"
        caller.post(url, json={"rows": [{"x": 1}]})  # its connection stays open, so the first process stays
        second, _, _ = (serve(target, hosting.bento(float(number)), number) for number in (2, 3, 4))

        while (settings.serving / "bentos" / second.bento[7:23]).exists():
            time.sleep(0.02)
        assert (settings.serving / "bentos" / first.bento[7:23]).exists()


def test_asking_again_for_what_answers_changes_nothing(target: LocalTarget) -> None:
    release = serve(target, hosting.bento(1.0), 1)
    before = target.status()["toy"]

    assert serve(target, hosting.bento(1.0), 1) == release

    assert target.status()["toy"] == before


def test_a_process_that_dies_is_replaced(target: LocalTarget) -> None:
    release = serve(target, hosting.bento(1.0), 1)
    pid, port = (status := target.status()["toy"]).pid, status.port

    os.kill(pid, signal.SIGKILL)

    assert predict(port)["release"] == release.id, "the call waits in the listener's queue"
    status = until(target, lambda status: status.state == "live" and status.pid != pid)
    assert (status.restarts, status.error, status.port) == (1, "", port)


def until_refused(port: int) -> None:
    """Wait until nothing listens. While the process is tried again, a call waits in the queue, and is reset when that fails."""
    deadline = time.monotonic() + 60
    while True:
        try:
            predict(port)
        except httpx.ConnectError:
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "callers are never refused at once"


def test_a_process_that_cannot_be_replaced_is_told_and_the_release_can_be_applied_again(target: LocalTarget) -> None:
    release = serve(target, hosting.bento(1.0), 1)
    status = target.status()["toy"]
    service = target.settings.serving / "bentos" / release.bento[7:23] / "src" / "bentos" / "toy" / "service.py"
    service.write_text("raise SystemExit('tampered')")

    os.kill(status.pid, signal.SIGKILL)
    assert "Nothing was loaded from it" in until(target, lambda status: status.state == "down").error
    until_refused(status.port)

    serve(target, hosting.bento(1.0), 1)
    assert predict(status.port)["release"] == release.id


def test_a_model_keeps_its_port_and_another_one_gets_the_next(target: LocalTarget) -> None:
    release = serve(target, hosting.bento(1.0), 1)
    port, store = target.status()["toy"].port, hosting.stored(hosting.bento(1.0))[1]

    with pytest.raises(ReleaseError, match=f"served on port {port}, not {port + 7}"):
        LocalTarget(target.settings, {release.model: port + 7}).apply(release, store)
    target.apply(release.model_copy(update={"model": "other"}), store)

    assert port == target.settings.endpoint_port
    assert target.status()["other"].port > port
    target.remove("other")
    assert set(target.status()) == {"toy"}


def test_waiting_for_what_was_replaced_meanwhile_ends_at_once(target: LocalTarget) -> None:
    release = serve(target, hosting.bento(1.0), 1)

    with pytest.raises(ReleaseError, match="release 'toy-r1' was asked for instead"):
        target.wait_ready(release.model_copy(update={"id": "toy-r0"}), 30)


def test_without_a_supervisor_a_release_says_what_to_do(tmp_path: Path) -> None:
    release, store = hosting.stored(hosting.bento(1.0))

    with pytest.raises(ReleaseError, match="No supervisor answers at .*ratchet up"):
        LocalTarget(hosting.settings(tmp_path)).apply(release, store)
