"""One server generation: what it refuses to load, when it accepts, and how it leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import hosting
import pytest
from ports import free_port

from bentos.runtime.digest import digest_of
from bentos.runtime.host import NOT_STARTED, TAMPERED, main
from bentos.runtime.place import Place
from bentos.runtime.release import Release
from bentos.runtime.sockets import short_path
from tasks.store import Store

HEADERS = {"content-type": "application/json"}
Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 60  # seconds, for a busy machine


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts host programs, and ends them with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(bento: Path, release: Release, listener: socket.socket | None = None, drain_seconds: float = 0.4, port: int = 0) -> subprocess.Popen[str]:
        file = tmp_path / f"release-{len(started)}.json"
        file.write_text(release.model_dump_json())
        paths = ["--release", file, "--bento", bento, *(["--bind", f"127.0.0.1:{port}"] if port else ["--socket", tmp_path / f"{len(started)}.sock"])]
        descriptors = [listener.fileno()] if listener else []
        shared = [f"--listener={descriptor}" for descriptor in descriptors]
        command = [sys.executable, "-m", "bentos.runtime.host", *map(str, paths), f"--drain-seconds={drain_seconds}", *shared]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, pass_fds=descriptors, env={**os.environ, "TMPDIR": str(tmp_path)})
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        with process:  # closes its pipes
            pass


@pytest.fixture
def port(start: Start) -> tuple[int, subprocess.Popen[str]]:
    """The port of a host that nobody supervises, and its process; its stdin is closed as a container's is. Its grace is longer than a thread waits for a core."""
    bento, port = hosting.bento(1.0), free_port()
    process = start(bento, hosting.release(bento), port=port, drain_seconds=3)
    assert process.stdin
    process.stdin.close()
    process.stdin = None
    hears(process, "ready")
    return port, process


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener


def hears(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout
    assert process.stdout.readline() == f"{word}\n", process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    hears(process, "accepting")


def connect(listener: socket.socket) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=PATIENCE)
    connection.connect()
    return connection


def predict(connection: HTTPConnection, x: float = 1) -> tuple[float, str | None]:
    """The score, and the header that tells whether to use the connection again."""
    connection.request("POST", "/predict", json.dumps({"rows": [{"x": x}]}), HEADERS)
    response = connection.getresponse()
    score: float = json.load(response)["answers"][0]["score"]
    return score, response.headers["connection"]


def test_the_digest_of_a_folder_is_the_reference_that_the_store_gives_it(tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "näme").write_bytes(b"x" * 20_000)
    (tmp_path / "tree" / "empty").touch()

    assert digest_of(tmp_path / "tree") == str(Store(f"file://{tmp_path}/store").put_tree(tmp_path / "tree"))


def test_it_answers_on_its_private_socket_at_once_and_on_the_shared_listener_after_go(start: Start, listener: socket.socket, tmp_path: Path) -> None:
    bento = hosting.bento(1.0)
    process = start(bento, hosting.release(bento), listener)
    hears(process, "ready")
    waiting = connect(listener)
    waiting.request("GET", "/readyz")
    private = HTTPConnection("host")
    private.sock = socket.socket(socket.AF_UNIX)
    private.sock.connect(str(tmp_path / "0.sock"))

    assert predict(private)[0] == 2
    waiting.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        waiting.sock.recv(1)

    go(process)
    waiting.sock.settimeout(PATIENCE)
    assert waiting.getresponse().status == 200
    assert digest_of(bento) == hosting.release(bento).bento, "serving leaves no file in the bento"


@pytest.mark.parametrize("change", ["a changed byte", "a file too many", "another model"])
def test_bytes_that_the_release_does_not_name_are_refused_and_not_loaded(change: str, start: Start, tmp_path: Path) -> None:
    toy = hosting.copy(hosting.bento(1.0), tmp_path / "bento")
    service, release = toy.path / "src" / "bentos" / "toy" / "service.py", toy.release
    match change:
        case "a changed byte":
            service.write_text(service.read_text() + f"open({str(tmp_path / 'loaded')!r}, 'w')\n")
        case "a file too many":
            (service.parent / "__pycache__").mkdir()
            (service.parent / "__pycache__" / "service.cpython-311.pyc").touch()
        case "another model":
            release = release.model_copy(update={"artefact": hosting.release(hosting.bento(2.0)).artefact})

    process = start(toy.path, release)

    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == TAMPERED
    assert ("PYTHONDONTWRITEBYTECODE=1" in err) is (change == "a file too many")
    assert "Nothing was loaded from it" in err and "Traceback" not in err and "ready" not in out
    assert not (tmp_path / "loaded").exists()


def test_the_code_that_runs_is_the_bentos_own(start: Start, tmp_path: Path) -> None:
    toy = hosting.copy(hosting.bento(1.0), tmp_path / "bento")
    shared = toy.path / "src" / "bentos" / "runtime" / "service.py"
    shared.write_text(shared.read_text() + "print('from the bento')\n")

    process = start(toy.path, hosting.release(toy.path))
    hears(process, "ready")

    assert "from the bento" in process.communicate(timeout=PATIENCE)[1]


def test_a_service_that_does_not_start_is_not_taken_for_tampering(start: Start) -> None:
    bento = hosting.bento(1.0, 2.0)

    process = start(bento, hosting.release(bento))

    err = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert "scores its golden rows otherwise" in err


def test_after_sigterm_the_next_generation_gets_what_is_queued_and_idle_connections_are_told_to_go(start: Start, listener: socket.socket) -> None:
    bentos = [hosting.bento(1.0), hosting.bento(2.0)]
    old, new = (start(bento, hosting.release(bento), listener, drain_seconds=3) for bento in bentos)
    hears(old, "ready")
    go(old)
    kept, idle = connect(listener), connect(listener)
    assert [predict(kept), predict(idle)] == [(2, None), (2, None)]

    old.send_signal(signal.SIGTERM)
    hears(old, "draining")
    assert predict(kept) == (2, "close")
    queued = connect(listener)
    queued.request("GET", "/readyz")
    assert old.wait(timeout=PATIENCE) == 0
    assert idle.sock.recv(1) == b"", "closed after the grace"

    hears(new, "ready")
    go(new)
    assert queued.getresponse().status == 200
    assert predict(connect(listener))[0] == 3


def test_it_ends_at_once_when_its_starter_is_gone(start: Start, listener: socket.socket) -> None:
    bento = hosting.bento(1.0)
    process = start(bento, hosting.release(bento), listener, drain_seconds=1000)
    hears(process, "ready")
    go(process)
    idle = connect(listener)
    assert predict(idle)[0] == 2

    assert process.stdin
    process.stdin.close()

    assert process.wait(timeout=PATIENCE) == 0


@pytest.mark.parametrize("way", ["SIGTERM", "end of stdin"])
def test_a_request_that_is_half_sent_when_the_end_comes_is_answered(way: str, start: Start, listener: socket.socket) -> None:
    bento = hosting.bento(1.0)
    process = start(bento, hosting.release(bento), listener, drain_seconds=0)
    hears(process, "ready")
    go(process)
    body = b'{"rows": [{"x": 1}]}'
    half = connect(listener)
    half.putrequest("POST", "/predict")
    for name, value in {**HEADERS, "content-length": str(len(body))}.items():
        half.putheader(name, value)
    half.endheaders(body[:5])
    assert predict(connect(listener))[0] == 2, "by now the half has been read"

    assert process.stdin
    process.send_signal(signal.SIGTERM) if way == "SIGTERM" else process.stdin.close()
    hears(process, "draining")
    half.send(body[5:])

    assert json.load(half.getresponse())["answers"][0]["score"] == 2
    assert process.wait(timeout=PATIENCE) == 0


def test_on_a_port_every_request_sent_before_sigterm_or_on_an_open_connection_is_answered(port: tuple[int, subprocess.Popen[str]]) -> None:
    number, process = port
    answered: list[tuple[float, str | None]] = []
    failed: list[str] = []

    def call() -> None:
        """Keeps its connection until it is told to go, and counts every request that got no answer."""
        connection = HTTPConnection("127.0.0.1", number, timeout=PATIENCE)
        try:
            connection.connect()
            while True:
                answered.append(reply := predict(connection))
                if reply[1] == "close":
                    return
        except Exception as err:  # noqa: BLE001  # whatever it is, a caller would have lost a request
            failed.append(repr(err))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    while len(answered) < 200:
        time.sleep(0.01)
    connections = [HTTPConnection("127.0.0.1", number, timeout=PATIENCE) for _ in range(20)]
    for queued in connections:
        queued.connect()
        queued.request("POST", "/predict", json.dumps({"rows": [{"x": 1}]}), HEADERS)
    process.send_signal(signal.SIGTERM)
    hears(process, "draining")
    for caller in callers:
        caller.join()

    assert [queued.getresponse().status for queued in connections] == [200] * 20
    assert failed == []
    assert process.wait(timeout=PATIENCE) == 0
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection("127.0.0.1", number).connect()


def test_on_a_port_callers_are_refused_until_the_model_is_warm_and_a_model_that_does_not_start_says_why(start: Start) -> None:
    bento, number = hosting.bento(1.0, 2.0), free_port()
    process = start(bento, hosting.release(bento), port=number)

    while process.poll() is None:
        with pytest.raises(ConnectionRefusedError):
            HTTPConnection("127.0.0.1", number).connect()
        time.sleep(0.01)

    assert process.returncode == 1
    assert "scores its golden rows otherwise" in process.communicate()[1]


MISTAKES = {
    "no host": ({"--bind": "3960"}, "--bind=3960 is no HOST:PORT: say 127.0.0.1:3960"),
    "no port": ({"--bind": "127.0.0.1:"}, "is no HOST:PORT"),
    "a port beyond ports": ({"--bind": "127.0.0.1:70000"}, "is no HOST:PORT"),
    "a port in use": ({}, "cannot be served: Address already in use"),
    "no release file": ({"--release": "/nowhere/release.json"}, "The release file /nowhere/release.json cannot be read: No such file"),
    "no release in it": ({"--release": "{broken}"}, "holds no release (model: Field required; "),
    "no JSON in it": ({"--release": __file__}, f"The release file {__file__} holds no release (file: Invalid JSON"),
    "a log that cannot be": ({"RATCHET_LOG": "/proc/nowhere"}, "RATCHET_LOG=/proc/nowhere cannot be written: "),
    "a skew in words": ({"RATCHET_MAX_SKEW_SECONDS": "x"}, "RATCHET_MAX_SKEW_SECONDS=x is no number of seconds"),
    "a skew beyond all dates": ({"RATCHET_MAX_SKEW_SECONDS": "3e11"}, "RATCHET_MAX_SKEW_SECONDS=3e11 is no number of seconds: give one from 0 to 3.2e+09"),
    "an endless skew": ({"RATCHET_MAX_SKEW_SECONDS": "inf"}, "RATCHET_MAX_SKEW_SECONDS=inf is no number of seconds"),
    "a budget in words": ({"RATCHET_LOG_BYTES": "1 GB"}, "RATCHET_LOG_BYTES=1 GB is no number of bytes"),
}


@pytest.mark.parametrize(("told", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_an_operator_can_mend_is_said_in_one_line(
    told: dict[str, str], said: str, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    release, broken = tmp_path / "release.json", tmp_path / "broken.json"
    release.write_text(hosting.release(hosting.bento(1.0)).model_dump_json())
    broken.write_text('{"v": 1, "id": "r1"}')
    monkeypatch.setattr("bentos.runtime.host._voice", lambda: print)  # which would take this process's stdout
    words = {"--release": str(release), "--bento": str(hosting.bento(1.0)), "--bind": f"127.0.0.1:{listener.getsockname()[1]}"}
    for name, value in told.items():
        monkeypatch.setenv(name, value) if name.startswith("RATCHET") else words.update({name: value.format(broken=broken)})

    assert main([f"{name}={value}" for name, value in words.items()]) == NOT_STARTED
    err = capfd.readouterr().err
    assert said in err and err.count("\n") == 1 and "pydantic.dev" not in err


def test_an_empty_variable_is_none() -> None:
    assert Place.of({"RATCHET_MAX_SKEW_SECONDS": "", "RATCHET_LOG_BYTES": "", "RATCHET_LOG": ""}) == Place.of({}) == Place()


def test_a_socket_may_lie_in_a_folder_of_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    with socket.socket(socket.AF_UNIX) as server, short_path(deep / "s") as name:
        server.bind(name)

    assert (deep / "s").is_socket()
