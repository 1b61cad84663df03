"""A bento is the same bytes for the same inputs, holds what it needs and no more, and any host can serve it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml
from ports import free_port

from bentos.runtime.card import FILES, Card, Golden, request_rows, seen_in
from bentos.runtime.digest import artefact_in, digest_of
from bentos.runtime.log import read_lines
from bentos.runtime.scoring import Scorer
from tasks.errors import PlatformError, ReleaseError
from tasks.project import Project
from tasks.release.package import LOCK, build
from tasks.release.requirements import serving_requirements
from tasks.spec import ModelSpec
from tasks.store import Store

VERSION = "20130531-0123abcd"
MODEL_TOML = """
dataset = "boats"
task = "regression"
label = { column = "speed" }
gate = { metric = "mae" }
[features]
length = { type = "number" }
flag = { type = "category" }
"""
PIPELINE = """
from expectations.boats.units import to_feet
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

def stretched(frame):
    return to_feet(frame)

def features(raw):
    return raw[["length", "flag"]]

def build(params):
    return Pipeline([("encode", ColumnTransformer([("n", FunctionTransformer(stretched), ["length"])])), ("model", LinearRegression())])

def space(trial):
    return {}
"""
SERVICE = """
from pathlib import Path
from bentos.runtime.service import service_of

Packed = service_of(Path(__file__).with_name("model.toml"))
"""
HOST = """
import sys, uvicorn, bentoml
uvicorn.run(bentoml.load(sys.argv[1]).to_asgi(), port=int(sys.argv[2]), log_level="warning")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project far from the installed package: a model whose pickled pipeline needs a function of its own and one of its dataset."""
    root = tmp_path_factory.mktemp("project")
    files = {
        "bentos/packed/__init__.py": "",
        "bentos/packed/model.toml": MODEL_TOML,
        "bentos/packed/pipeline.py": PIPELINE,
        "bentos/packed/service.py": SERVICE,
        "bentos/packed/sample.json": json.dumps({"rows": [{"length": 12.5, "flag": "NL"}]}),
        "bentos/packed/notes.csv": "not for the server",
        "expectations/boats/__init__.py": "",
        "expectations/boats/dataset.toml": "",
        "expectations/boats/source.py": "raise RuntimeError('a server has no business with the source')",
        "expectations/boats/units.py": "def to_feet(frame):\n    return frame * 3.28084\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Project(root)


@pytest.fixture(scope="module")
def spec(project: Project) -> ModelSpec:
    return project.model("packed")


@pytest.fixture(scope="module")
def artefact(project: Project, spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import joblib

    folder = tmp_path_factory.mktemp("artefact")
    frame = spec.contract.frame(pd.DataFrame({"length": [5.0, 10.0, 20.0], "flag": ["NL", "GB", "NL"]}))
    joblib.dump(project.pipeline("packed").build({}).fit(frame, [3.0, 5.0, 9.0]), folder / FILES["sklearn"])
    card = Card(
        name="packed",
        version=VERSION,
        format="sklearn",
        contract=spec.contract,
        seen=seen_in(frame, spec.contract),
        cutoff=datetime(2013, 5, 31, tzinfo=UTC),
        holdout_score=0.1,
        metric="mae",
    )
    card.save(folder)
    rows = request_rows(frame, spec.contract)
    golden = tuple(Golden(row=row, score=score) for row, score in zip(rows, Scorer.load(folder).score_rows(rows), strict=True))
    card.model_copy(update={"golden": golden}).save(folder)
    return folder


@pytest.fixture(scope="module")
def bento(project: Project, spec: ModelSpec, artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(spec, artefact, VERSION, project, tmp_path_factory.mktemp("bento") / "packed")


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET", "BENTOML", "PYTHON"))}
    told = {"RATCHET_LOG": str(home / "log"), "RATCHET_RELEASE": "r1", "BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return kept | told | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def server(bento: Path, host: str, home: Path) -> Iterator[httpx.Client]:
    """A server of the bento in a process of its own, ended as an orchestrator would."""
    port = str(free_port())
    if host == "uvicorn":
        command = [sys.executable, "-P", "-c", HOST, str(bento), port]
    else:
        command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", port]
    process = subprocess.Popen(command, env=environment(home), cwd=home, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_until_ready(client, process)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail("the server was not ready within 120 s")


@pytest.mark.parametrize("host", ["uvicorn", "bentoml serve"])
def test_any_host_serves_the_exported_folder_and_its_sample_works(bento: Path, project: Project, tmp_path: Path, host: str) -> None:
    sample = json.loads((project.root / "bentos/packed/sample.json").read_text())

    with server(bento, host, tmp_path) as client:
        reply = client.post("/predict", json=sample)
        schema = client.get("/docs.json").json()
        lines = list(read_lines(tmp_path / "log/packed/predictions"))

    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["model"], body["version"], body["release"]) == (200, "packed", VERSION, "r1")
    assert body["answers"][0]["score"] == pytest.approx(6.0)
    assert json.loads(lines[0])["id"] == body["answers"][0]["id"]
    assert {"/predict", "/feedback"} <= set(schema["paths"])


def test_the_same_inputs_give_the_same_bytes(bento: Path, project: Project, spec: ModelSpec, artefact: Path, tmp_path: Path) -> None:
    again = build(spec, artefact, VERSION, project, tmp_path / "elsewhere" / "under_another_name")

    store = Store(f"file://{tmp_path / 'store'}")
    assert store.put_tree(again) == store.put_tree(bento)


def test_the_model_inside_is_pinned_by_its_digest(bento: Path, artefact: Path) -> None:
    manifest = yaml.safe_load((bento / "bento.yaml").read_text())

    (model,) = manifest["models"]
    assert model["tag"] == f"packed:{digest_of(artefact).removeprefix('sha256:')[:40]}"
    assert model["alias"] == "artefact"
    assert digest_of(artefact_in(bento), without="model.yaml") == digest_of(artefact)
    assert (manifest["version"], manifest["entry_service"]) == (VERSION, "packed")


def test_the_source_is_the_runtime_the_model_and_what_its_dataset_shares(bento: Path) -> None:
    held = {path.relative_to(bento / "src").as_posix() for path in (bento / "src").rglob("*") if path.is_file()}

    assert {"bentos/__init__.py", "bentos/runtime/service.py", "bentos/packed/pipeline.py", "bentos/packed/model.toml", "expectations/boats/units.py"} <= held
    assert not {name for name in held if name.endswith((".csv", ".pyc", "source.py")) or name.startswith(("tasks", "flows"))}
    assert {name.split("/")[1] for name in held if name.startswith("bentos/")} == {"__init__.py", "runtime", "packed"}


def test_requirements_are_the_locked_versions_of_what_serving_needs(bento: Path) -> None:
    held = (bento / "env/python/requirements.txt").read_text().split()

    names = {line.partition("==")[0] for line in held}
    assert {"bentoml", "onnxruntime", "uvicorn", "scikit-learn", "pandas"} <= names
    assert not names & {"prefect", "evidently", "great-expectations", "optuna", "skl2onnx"}
    assert len(names) == len(held)
    assert f"pydantic=={metadata.version('pydantic')}" in held


def test_an_onnx_model_needs_neither_scikit_learn_nor_pandas() -> None:
    names = {line.partition("==")[0] for line in serving_requirements(LOCK, "onnx")}

    assert not names & {"scikit-learn", "pandas", "joblib"}


def test_without_a_lock_nothing_is_packed(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="There is no lock"):
        serving_requirements(tmp_path / "uv.lock", "onnx")


def test_a_lock_without_a_package_of_serving_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text('[[package]]\nname = "ratchet"\nversion = "1"\n')

    with pytest.raises(PlatformError, match="0 versions of 'bentoml'"):
        serving_requirements(tmp_path / "uv.lock", "onnx")


def test_a_bento_runs_no_code_but_its_own(bento: Path, tmp_path: Path) -> None:
    code = "import sys, bentos.runtime.contract, bentoml; bentoml.load(sys.argv[1])"
    checkout = shutil.copytree(bento / "src", tmp_path / "checkout")

    env = environment(tmp_path) | {"PYTHONPATH": str(checkout)}
    done = subprocess.run([sys.executable, "-P", "-c", code, str(bento)], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "not its own: start the process with PYTHONPATH=" in done.stderr


@pytest.mark.parametrize("change", [{"version": "20130531-ffffffff"}, {"threshold": 0.9}], ids=str)
def test_an_artefact_is_packed_only_as_what_its_card_says(project: Project, spec: ModelSpec, artefact: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    version = change.get("version", VERSION)
    other = spec.model_copy(update={name: value for name, value in change.items() if name != "version"})

    with pytest.raises(ReleaseError, match="card names another (version|contract)"):
        build(other, artefact, version, project, tmp_path / "bento")


def test_a_service_that_does_not_import_is_told_and_leaves_nothing_behind(project: Project, spec: ModelSpec, artefact: Path, tmp_path: Path) -> None:
    broken = tmp_path / "packed"
    broken.mkdir()
    for path in spec.folder.glob("*.*"):
        (broken / path.name).write_text(path.read_text())
    (broken / "service.py").write_text("import no_such_module\n")

    with pytest.raises(ReleaseError, match="No module named 'no_such_module'"):
        build(spec.model_copy(update={"folder": broken}), artefact, VERSION, project, tmp_path / "out" / "bento")

    assert list((tmp_path / "out").iterdir()) == []
