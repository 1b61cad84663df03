"""A pickle is opened in a child process only, and whatever happens to the child, the server goes on and loses nothing."""

import os
import pickle
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hosting
import httpx
import numpy as np
import pandas as pd
import pytest
from endpoint_up import endpoint_up

from bentos.runtime.card import FILES, Card, Golden, Seen, request_rows
from bentos.runtime.child import ChildScores, served
from bentos.runtime.contract import Contract, Feature
from bentos.runtime.digest import artefact_in
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.errors import Refused
from bentos.runtime.place import Place
from bentos.runtime.rows import Models
from bentos.runtime.scoring import Scorer

DIE, HANG, FAIL = -1, -2, -3
PROBES = ("/livez", "/readyz", "/v2/health/ready", "/v2/models/fragile/ready")
CODE = """
import os, time
from pathlib import Path

class Pipeline:
    def predict(self, frame):
        x = frame["x"].to_numpy()
        if -1 in x:
            print("a word on stdout is not an answer")
            os._exit(7)
        while -2 in x and not Path(__file__).with_name("go").exists():
            time.sleep(0.01)
        if -3 in x:
            raise ValueError(f"what is {x}?")
        return x * 2
"""
Serve = Callable[[Endpoint], str]
Logged = Callable[[str], list[dict[str, Any]]]


def pickled(module: str) -> bytes:
    """A pickle of `<module>.Pipeline()`, written without importing it."""
    return f"c{module}\nPipeline\n)R.".encode()


def card_of(contract: Contract) -> Card:
    golden = (Golden(row={"x": 1.0}, score=2.0),)
    about = {"name": contract.name, "version": "20130101-pickled", "format": "sklearn", "contract": contract}
    seen = {name: Seen(low=-10, high=10) for name in contract.features}
    return Card(**about, seen=seen, golden=golden, cutoff=datetime(2013, 1, 1, tzinfo=UTC), holdout_score=0, metric="mae")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with the code of a pipeline that doubles x, and dies, hangs or fails on some."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "fragile.py").write_text(CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def write_artefact(folder: Path, pickle: bytes) -> Path:
    folder.mkdir()
    (folder / FILES["sklearn"]).write_bytes(pickle)
    card_of(Contract(name="fragile", task="regression", features={"x": Feature(type="number", nullable=True)})).save(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(code: Path) -> Iterator[Scorer]:
    """That pipeline in its child, which tests may end, for it is started again."""
    scorer = served(write_artefact(code / "artefact", pickled("fragile")))
    scorer.scores.seconds = 60.0  # type: ignore[attr-defined]  # on a busy machine a child takes long to start
    yield scorer
    scorer.close()


@pytest.fixture
def client(scorer: Scorer, serve: Serve, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server of that pipeline."""
    endpoint = Endpoint(scorer, Models(scorer.card.contract, 10), Place(log=tmp_path / "log"))
    endpoint.warm_up()
    with httpx.Client(base_url=f"http://{serve(endpoint)}", timeout=60) as client:
        yield client


def ask(client: httpx.Client, *values: float | None) -> httpx.Response:
    return client.post("/predict", json={"rows": [{"x": value} for value in values]})


def code_of(response: httpx.Response) -> str:
    error = response.json()["error"]
    assert set(error) == {"code", "message", "fields"}
    return str(error["code"])


def pid_of(scorer: Scorer) -> int:
    assert isinstance(scorer.scores, ChildScores)
    assert scorer.scores.life
    return scorer.scores.life.process.pid


def until(holds: Callable[[], object]) -> None:
    """Return when it holds; the test ends after a while if it never does."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_scores_as_the_pipeline_does_in_this_process(endpoint: Callable[..., Endpoint], artefact: Callable[[str, str], Path]) -> None:
    apart, here = endpoint("multiclass", "sklearn").scorer, Scorer.load(artefact("multiclass", "sklearn"))
    assert isinstance(apart.scores, ChildScores)
    rows = [golden.row for golden in here.card.golden]
    rows += [row | {"carrier": "new", "Seats (n)": None, "distance": 1e30, "weekend": None} for row in rows]
    frame = here.card.contract.frame(pd.DataFrame(rows))

    assert apart.score_rows(rows) == here.score_rows(rows)
    np.testing.assert_array_equal(apart.score(frame), here.score(frame))
    assert request_rows(frame, here.card.contract) == rows


def test_a_row_that_ends_the_child_fails_alone_each_time(client: httpx.Client, logged: Logged) -> None:
    replies = [ask(client, *values) for values in [(1,), (1, DIE), (2, 3), (DIE,), (4,)]]

    assert [reply.status_code for reply in replies] == [200, 503, 200, 503, 200]
    assert [(code_of(reply), reply.headers["retry-after"]) for reply in replies[1::2]] == [("crashed", "1")] * 2
    answered = [answer for reply in replies[::2] for answer in reply.json()["answers"]]
    assert [answer["score"] for answer in answered] == [2, 4, 6, 8]
    assert [line["id"] for line in logged("predictions")] == [answer["id"] for answer in answered]
    assert 'ratchet_errors_total{code="crashed",model="fragile",version="20130101-pickled"} 2.0' in client.get("/metrics").text


def test_metrics_tell_what_the_child_uses(client: httpx.Client, scorer: Scorer) -> None:
    found = re.search(r"^ratchet_model_process_resident_memory_bytes (.*)$", client.get("/metrics").text, re.MULTILINE)

    status = Path(f"/proc/{pid_of(scorer)}/status").read_text()
    assert found and float(found[1]) == pytest.approx(1024 * int(status.split("VmRSS:")[1].split()[0]), rel=0.1)


def test_health_and_metrics_answer_while_a_row_is_scored(client: httpx.Client, code: Path) -> None:
    with ThreadPoolExecutor() as threads:
        scoring = threads.submit(ask, client, HANG)
        others = [client.get(path).status_code for path in ("/livez", "/readyz", "/metrics", "/v2/health/ready")]
        assert not scoring.done()
        (code / "go").touch()

        assert (others, scoring.result().status_code) == ([200] * 4, 200)
    (code / "go").unlink()


def test_a_child_that_hangs_is_ended_and_started_again(client: httpx.Client, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    hung = pid_of(scorer)

    with monkeypatch.context() as patch:
        patch.setattr(scorer.scores, "seconds", 0.2)
        first = ask(client, HANG)
    second = ask(client, 1)

    assert (first.status_code, code_of(first)) == (503, "crashed")
    assert (second.status_code, len(logged("predictions"))) == (200, 1)
    assert not Path(f"/proc/{hung}").exists()


def test_a_child_that_is_killed_is_back_before_anybody_asks(client: httpx.Client, scorer: Scorer) -> None:
    first = pid_of(scorer)

    os.kill(first, signal.SIGKILL)
    until(lambda: pid_of(scorer) != first)

    assert ask(client, 1).status_code == 200


def test_a_score_that_is_no_number_is_refused_as_with_onnx(client: httpx.Client) -> None:
    reply = ask(client, 1, None)

    assert (reply.status_code, code_of(reply), reply.json()["error"]["fields"][0]["path"]) == (400, "unscorable", "rows.1")


def test_a_child_that_does_not_come_back_is_a_503_at_once_until_it_does(
    client: httpx.Client, scorer: Scorer, code: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bentos.runtime.child.PAUSE", 0.05)
    monkeypatch.setattr(scorer.scores, "seconds", 3600)  # for which nobody waits
    whole, file = pickled("fragile"), code / "artefact" / FILES["sklearn"]
    file.write_bytes(whole + b" ")  # the digest was checked when the server was started

    os.kill(pid_of(scorer), signal.SIGKILL)
    until(lambda: scorer.scores.down)
    refused = ask(client, 1)
    probes = [client.get(path).status_code for path in PROBES]
    metrics = client.get("/metrics").text
    file.write_bytes(whole)
    until(lambda: ask(client, 1).status_code == 200)

    assert (refused.status_code, code_of(refused), refused.headers["retry-after"]) == (503, "not_ready", "1")
    assert (probes, [client.get(path).status_code for path in PROBES]) == ([200, 503, 503, 503], [200] * 4), "who routes requests must know"
    assert "ratchet_model_process" not in metrics
    assert "model.pkl has changed since the server was started" in capfd.readouterr().err


def test_a_pickle_that_does_not_open_is_an_error_and_the_child_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_artefact(tmp_path / "artefact", pickled("no_such_module"))

    # On a busy machine its end takes longer than it is given, and it is killed.
    with pytest.raises(ChildProcessError, match=r"model\.pkl: the process that is to score it ended with (1|-9) before it was ready"):
        served(folder)

    assert "No module named 'no_such_module'" in capfd.readouterr().err


def test_closing_ends_the_child_and_what_it_was_scoring_is_refused(scorer: Scorer, code: Path) -> None:
    scorer = served(code / "artefact")
    child = pid_of(scorer)

    with ThreadPoolExecutor() as threads:
        scoring = threads.submit(scorer.score_rows, [{"x": HANG}])
        until(lambda: scorer.scores._free.empty())  # type: ignore[attr-defined]
        scorer.close()

        with pytest.raises(Refused, match="died over this request"):
            scoring.result()
    with pytest.raises(Refused, match="being started again"):
        scorer.score_rows([{"x": 1}])
    until(lambda: not stat_of(child))


def stat_of(pid: int | str) -> list[str]:
    """State, parent and what else the kernel tells of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if stat_of(path.name)[1:2] == [str(pid)]]


@pytest.fixture
def pickled_bento(tmp_path: Path) -> Path:
    """The toy's bento with a pickle inside, whose code only the bento has."""
    bento = shutil.copytree(hosting.built(), tmp_path / "bento")
    (bento / "src" / "bentos" / "toy" / "fragile.py").write_text("import sklearn\n" + CODE)
    artefact = artefact_in(bento)
    (artefact / FILES["onnx"]).unlink()
    (artefact / FILES["sklearn"]).write_bytes(pickled("bentos.toy.fragile"))
    card_of(hosting.spec().contract).save(artefact)
    return bento


def test_a_server_opens_no_pickle_and_its_child_has_neither_its_keys_nor_its_port_nor_a_longer_life(pickled_bento: Path, tmp_path: Path) -> None:
    with endpoint_up(tmp_path, tmp_path / "log", pickled_bento, predict_key="secret") as up, up.client as client:
        client.headers["authorization"] = "Bearer secret"
        (child,) = children_of(up.process.pid)
        server_maps, child_maps = (Path(f"/proc/{pid}/maps").read_text() for pid in (up.process.pid, child))
        environment = Path(f"/proc/{child}/environ").read_bytes()
        sockets = [link for link in map(os.readlink, Path(f"/proc/{child}/fd").iterdir()) if link.startswith("socket:")]

        os.kill(child, signal.SIGTERM)
        os.kill(child, signal.SIGINT)
        replies = [ask(client, x) for x in (1.5, FAIL)]
        said = up.stderr.read_text()

        os.kill(child, signal.SIGSTOP)  # which does not see the end of its socket
        os.kill(up.process.pid, signal.SIGKILL)
        until(lambda: stat_of(child)[:1] in ([], ["Z"]))

    assert "sklearn" in child_maps
    assert not {name for name in ("sklearn", "pandas", "scipy") if f"/{name}/" in server_maps}
    assert b"secret" not in environment
    assert b"RATCHET" not in environment
    assert b"OMP_NUM_THREADS=1" in environment
    assert len(sockets) == 1
    assert [reply.status_code for reply in replies] == [200, 500]
    assert replies[0].json()["answers"][0]["score"] == 3
    assert 'fragile.py", line' in said
    assert "ValueError" in said
    assert "what is [" not in said, "the message holds the row"


def test_a_bento_whose_pickle_does_not_open_is_never_ready_and_stderr_says_why(pickled_bento: Path, tmp_path: Path) -> None:
    (artefact_in(pickled_bento) / FILES["sklearn"]).write_bytes(pickled("bentos.toy.absent"))

    with pytest.raises(AssertionError, match="No module named 'bentos.toy.absent'"), endpoint_up(tmp_path, tmp_path / "log", pickled_bento):
        pass


def test_a_server_of_an_onnx_model_opens_no_pickle_that_lies_beside_it(tmp_path: Path) -> None:
    bento, sprung = shutil.copytree(hosting.bento(1.0), tmp_path / "bento"), tmp_path / "sprung"
    (artefact_in(bento) / FILES["sklearn"]).write_bytes(f"cos\nmkdir\n(V{sprung}\ntR.".encode())

    with endpoint_up(tmp_path, tmp_path / "log", bento) as up, up.client as client:
        reply = ask(client, 1)
        children = children_of(up.process.pid)

    assert (reply.status_code, children, sprung.exists()) == (200, [], False)
    pickle.loads((artefact_in(bento) / FILES["sklearn"]).read_bytes())
    assert sprung.exists(), "the trap would have been noticed"
