"""The supervisor: there is one, it resumes what answered, and nothing outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hosting
import httpx
import pytest

from bentos.runtime.release import Release
from bentos.runtime.sockets import short_path
from tasks.release.desired import Desired, Wanted
from tasks.release.local import LocalTarget
from tasks.release.model_server import LONGEST_PAUSE_SECONDS, pause_seconds
from tasks.settings import Settings


def serve(settings: Settings, bento: Path, number: int = 1) -> Release:
    """Take a bento live."""
    release, store = hosting.stored(bento, number)
    target = LocalTarget(settings)
    target.apply(release, store)
    target.wait_ready(release, 120)
    return release


def answers(settings: Settings) -> str:
    """Id of the release that answers."""
    request = {"json": {"rows": [{"x": 1}]}, "timeout": 60}
    release: str = httpx.post(f"http://127.0.0.1:{settings.endpoint_port}/predict", **request).raise_for_status().json()["release"]  # type: ignore[arg-type]
    return release


def gone(pid: int) -> bool:
    """True when the process ends within a minute."""
    for _ in range(1_200):
        try:
            if not Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_second_one_refuses_to_start(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)

    with hosting.supervisor(settings) as first:
        with hosting.start(settings) as second:
            said = second.communicate(timeout=60)[1]

        assert second.returncode == 1
        assert f"Supervisor {first.pid} serves" in said and said.count("\n") == 1
        assert LocalTarget(settings).status() == {}
    assert first.returncode == 0


def test_killed_and_started_again_it_serves_the_same_release_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)
    with hosting.supervisor(settings) as first:
        release = serve(settings, hosting.bento(1.0))
        orphan = LocalTarget(settings).status()["toy"].pid
        first.send_signal(signal.SIGKILL)
    assert LocalTarget(settings).status()["toy"].state == "down"
    assert gone(orphan), "a process whose supervisor is gone ends by itself"

    with hosting.supervisor(settings) as second:
        LocalTarget(settings).wait_ready(release, 120)
        assert answers(settings) == release.id
        child = LocalTarget(settings).status()["toy"].pid
        second.send_signal(signal.SIGTERM)
    assert second.returncode == 0
    assert gone(child)
    assert list((settings.serving / "run").iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        answers(settings)


def test_an_orphan_that_hangs_is_killed_by_the_next_one(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)
    with hosting.supervisor(settings) as first:
        release = serve(settings, hosting.bento(1.0))
        orphan = LocalTarget(settings).status()["toy"].pid
        os.kill(orphan, signal.SIGSTOP)
        first.send_signal(signal.SIGKILL)

    with hosting.supervisor(settings):
        LocalTarget(settings).wait_ready(release, 120)

        assert gone(orphan)
        assert answers(settings) == release.id


def test_a_first_release_that_fails_leaves_its_port_closed_and_is_not_resumed(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)
    release, store = hosting.stored(hosting.bento(1.0, 2.0))
    with hosting.supervisor(settings):
        LocalTarget(settings).apply(release, store)
        while (status := LocalTarget(settings).status()["toy"]).state == "starting":
            time.sleep(0.05)

        assert (status.state, status.release, status.tried) == ("down", "", release.id)
        assert "golden rows" in status.refused
        with pytest.raises(httpx.ConnectError):
            answers(settings)

    assert Desired.load(settings.serving / "desired.json") == Desired()


def test_a_taken_port_is_told_and_the_model_comes_up_when_it_is_free(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)
    bento = hosting.bento(1.0)
    release = hosting.release(bento)
    settings.serving.mkdir(parents=True)
    Desired().put(Wanted(release=release, bento=bento, port=settings.endpoint_port)).save(settings.serving / "desired.json")
    blocker = socket.create_server(("127.0.0.1", settings.endpoint_port))
    with hosting.supervisor(settings):
        while (status := LocalTarget(settings).status()["toy"]).state == "starting":
            time.sleep(0.05)
        assert f"port {settings.endpoint_port} of 127.0.0.1" in status.error

        blocker.close()
        LocalTarget(settings).wait_ready(release, 120)
        assert answers(settings) == release.id


def test_a_damaged_desired_state_stops_the_start_in_one_line(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)
    settings.serving.mkdir(parents=True)
    (settings.serving / "desired.json").write_text('{"models": 7}')

    with hosting.start(settings) as process:
        said = process.communicate(timeout=60)[1]

    assert process.returncode == 1
    assert "The desired state in" in said and said.count("\n") == 1


def test_nonsense_on_its_socket_is_answered_and_changes_nothing(tmp_path: Path) -> None:
    settings = hosting.settings(tmp_path)
    with hosting.supervisor(settings):
        with short_path(settings.serving / "supervisor.sock") as name, socket.socket(socket.AF_UNIX) as connection:
            connection.connect(name)
            connection.sendall(b'{"command": "explode"}\nnot json\n')
            with connection.makefile("rb") as lines:
                replies = [json.loads(lines.readline()) for _ in range(2)]

        assert all("no such command" in reply["error"] for reply in replies)
        assert LocalTarget(settings).status() == {}


def test_the_pause_before_a_new_start_doubles_up_to_a_limit() -> None:
    assert [pause_seconds(deaths) for deaths in (0, 1, 2, 3, 4)] == [0, 0, 0.5, 1, 2]
    assert pause_seconds(10_000) == LONGEST_PAUSE_SECONDS


def test_importing_it_starts_nothing(tmp_path: Path) -> None:
    code = "import tasks.release.supervisor, tasks.release.local, tasks.release.preflight"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)

    assert list(tmp_path.iterdir()) == []
