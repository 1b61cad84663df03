"""A toy model in a real bento, shared by the tests of hosting: it adds a number to `x`."""

import atexit
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from ports import free_port

from bentos.runtime.card import Card, Golden, Seen
from bentos.runtime.digest import artefact_in, digest_of
from bentos.runtime.release import Release
from deployments.local.programs import environment
from tasks.errors import PlatformError
from tasks.project import Project
from tasks.release.desired import Status
from tasks.release.local import ask
from tasks.release.package import build
from tasks.settings import Settings
from tasks.spec import ModelSpec
from tasks.store import Store

MODEL_TOML = """
dataset = "points"
task = "regression"
[label]
column = "y"
[features]
x = { type = "number" }
colour = { type = "category", nullable = true }
[gate]
metric = "mae"
"""
SERVICE = """
from pathlib import Path
from bentos.runtime.service import service_of
Toy = service_of(Path(__file__).with_name("model.toml"))
"""
SAMPLE = '{"rows": [{"x": 1.5, "colour": "red"}, {"x": 2, "event_time": "2013-01-01T00:00:00Z"}]}'


@cache
def folder() -> Path:
    """A folder for this run of the tests."""
    path = Path(mkdtemp(prefix="ratchet-toys-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def project() -> Project:
    root = folder() / "project"
    files = {"model.toml": MODEL_TOML, "service.py": SERVICE, "sample.json": SAMPLE, "__init__.py": ""}
    (root / "bentos" / "toy").mkdir(parents=True)
    for name, text in files.items():
        (root / "bentos" / "toy" / name).write_text(text)
    (root / "expectations" / "points").mkdir(parents=True)
    (root / "expectations" / "points" / "dataset.toml").write_text('source = "points.csv"\n')
    return Project(root)


def spec() -> ModelSpec:
    return project().model("toy")


def artefact(to: Path, version: str, plus: float, golden_plus: float) -> Path:
    """A model of `x + plus` whose golden rows expect `x + golden_plus`."""
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "xy")
    constant = helper.make_tensor("plus", TensorProto.FLOAT, [1], [plus])
    graph = helper.make_graph([helper.make_node("Add", ["x", "plus"], ["y"])], "toy", [x], [y], [constant])
    to.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), to / "model.onnx")
    Card(
        name="toy",
        version=version,
        format="onnx",
        contract=spec().contract,
        seen={"x": Seen(low=0, high=10), "colour": Seen(values=("blue", "red"))},
        golden=tuple(Golden(row={"x": x, "colour": "red"}, score=x + golden_plus) for x in (1.0, 2.0, 1000.0)),
        cutoff=datetime(2013, 1, 1, tzinfo=UTC),
        holdout_score=0.0,
        metric="mae",
    ).save(to)
    return to


@cache
def built() -> Path:
    return build(spec(), artefact(folder() / "artefact", "20130101-built", 0, 0), "20130101-built", project(), folder() / "built")


@cache
def bento(plus: float, golden_plus: float | None = None) -> Path:
    """A bento of `x + plus`: the built one with another model inside. It never gets ready when its golden rows expect something else."""
    version = f"20130101-{plus:g}-{plus if golden_plus is None else golden_plus:g}".replace(".", "")
    path = shutil.copytree(built(), folder() / version)
    artefact(artefact_in(path), version, plus, plus if golden_plus is None else golden_plus)
    return path


def release(path: Path, number: int = 1) -> Release:
    """A release of a bento as it is now."""
    artefact = artefact_in(path)
    return Release(
        id=f"toy-r{number}", model="toy", version=Card.load(artefact).version, bento=digest_of(path), artefact=digest_of(artefact, without="model.yaml")
    )


def stored(path: Path, number: int = 1) -> tuple[Release, Store]:
    """A release whose bento is in a store."""
    store = Store(f"file://{folder() / 'store'}")
    store.put_tree(path)
    return release(path, number), store


@dataclass(frozen=True)
class Copy:
    """A bento that a test may change."""

    path: Path
    release: Release


def copy(path: Path, to: Path) -> Copy:
    shutil.copytree(path, to)
    return Copy(to, release(path))


def settings(home: Path, **changed: object) -> Settings:
    """An installation of its own, with a grace for idle connections that is short, and longer than a caller's thread may have to wait for a core."""
    return Settings(home=home, project=project().root, endpoint_port=free_port(), **{"drain_seconds": 2.0, "ready_seconds": 120.0, **changed})  # type: ignore[arg-type]


@contextmanager
def supervisor(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A running supervisor that hears commands; it is stopped at the end unless the test has ended it."""
    process = start(settings)
    while not asked(settings):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    with process:
        yield process
        if process.poll() is None:
            process.terminate()


def start(settings: Settings) -> subprocess.Popen[str]:
    """A supervisor as `ratchet up` starts it."""
    command = [sys.executable, "-m", "tasks.release.supervisor"]
    return subprocess.Popen(command, env=environment(settings), start_new_session=True, stderr=subprocess.PIPE, text=True)


def asked(settings: Settings) -> bool:
    """True when a supervisor answers."""
    try:
        return ask(settings, Status()).pid > 0
    except PlatformError:
        return False
