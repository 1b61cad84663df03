"""Packs a model version into a bento: code, pinned requirements and the model's bytes in one folder that any host can serve."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import bentos
from bentos.runtime.card import Card
from bentos.runtime.digest import digest_of
from tasks.errors import ReleaseError
from tasks.project import Project
from tasks.release.requirements import serving_requirements
from tasks.spec import ModelSpec

ALIAS = "artefact"  # the word by which bentos.runtime.service asks for its model
CODE = {".py", ".toml", ".json"}
CHILD = Path(__file__).with_name("bento_build.py")
LOCK = Path(__file__).parents[2] / "uv.lock"
BUILD_SECONDS = 120  # it takes one; a machine under load must not fail a release


def build(spec: ModelSpec, artefact: Path, version: str, project: Project, folder: Path) -> Path:
    """Write the bento of an artefact folder to `folder`, which must not exist, and return it. The same inputs give the same bytes.

    The bento holds `bentos/runtime` as it is installed, the model's folder, and whatever Python its dataset's folder shares.

    Raises:
        ReleaseError: the artefact is not of this version or this contract, or BentoML refused, mostly because of the author's service.py.
    """
    card = Card.load(artefact)
    for what, found, wanted in (("version", card.version, version), ("contract", card.contract, spec.contract)):
        if found != wanted:
            raise ReleaseError(spec.name, version, f"the artefact's card names another {what} than it is packed for; train it again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".bento-", dir=folder.parent) as temporary:
        home, context, done = (Path(temporary).resolve() / name for name in ("home", "context", "done"))
        copy_context(spec, project, context)
        order = {
            "service": f"bentos.{spec.name}.service",
            "name": spec.name,
            "version": version,
            "description": spec.description or spec.name,
            "labels": {"cutoff": card.cutoff.isoformat(), "format": card.format},
            "model_tag": f"{spec.name}:{digest_of(artefact).removeprefix('sha256:')[:40]}",  # BentoML's versions end at 63 characters
            "alias": ALIAS,
            "artefact": str(artefact.resolve()),
            "context": str(context),
            "requirements": serving_requirements(LOCK if LOCK.exists() else project.root / "uv.lock", card.format),
            "folder": str(done),
        }
        _run(order, spec.name, version, home)
        _fix_times(done, card.cutoff.isoformat())
        done.rename(folder)
    return folder


def copy_context(spec: ModelSpec, project: Project, context: Path) -> None:
    """Lay out what the bento's `src` will hold, under the import paths of training, so that a pickled pipeline finds its functions."""
    installed = Path(bentos.__file__).parent
    for path in [installed / "__init__.py", *_code(installed / "runtime")]:
        _copy(path, context / "bentos" / path.relative_to(installed))
    for path in _code(spec.folder):
        _copy(path, context / "bentos" / spec.name / path.relative_to(spec.folder))
    datasets = project.root / "expectations"
    shared = [path for path in _code(datasets / spec.dataset) if path.suffix == ".py" and path.name not in {"source.py", "__init__.py"}]
    for path in [*shared, *((datasets / spec.dataset).rglob("__init__.py") if shared else ())]:
        _copy(path, context / path.relative_to(project.root))
    if shared:
        (context / "expectations" / "__init__.py").touch()


def _code(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix in CODE and path.is_file() and "__pycache__" not in path.parts)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _run(order: Mapping[str, object], model: str, version: str, home: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BENTOML", "PYTHON"))}
    env |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}
    home.mkdir()
    command = [sys.executable, "-P", str(CHILD)]  # -P: the folder of the child holds modules of ours that would hide others
    done = subprocess.run(command, input=json.dumps(order), env=env, cwd=home, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raised = [line for line in said if re.match(r"[\w.]+: ", line)]  # "package.SomeError: what happened"; the first is the cause
        raise ReleaseError(model, version, f"BentoML could not build it (exit code {done.returncode}): {(raised or said[-1:])[0].strip()}")


def _fix_times(folder: Path, time: str) -> None:
    """BentoML notes the time of the build; a bento's digest must not depend on it."""
    for path in [folder / "bento.yaml", *folder.glob("models/*/*/model.yaml")]:
        path.write_text(re.sub(r"(?m)^(\s*creation_time:).*$", rf"\1 '{time}'", path.read_text()))
