"""`ratchet new`: from a file to the folders of a dataset and a model, whole or not at all, and never over what is there."""

import importlib.util
import keyword
import logging
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from deployments.scaffold import python_files, spec_files
from deployments.scaffold.notes import notes
from deployments.scaffold.proposal import Proposal, propose
from tasks.data import profile, source
from tasks.data.features import typed
from tasks.errors import SpecError
from tasks.spec import NAME, DatasetSpec, ModelSpec

log = logging.getLogger(__name__)


def new(
    name: str, data: Path, label: str, time: str | None, project: Path, dataset: str | None = None, task: str | None = None, positive: str | None = None
) -> list[Path]:
    """Write `expectations/<dataset>/` and `bentos/<name>/` for a column of a CSV or Parquet file; logs what was inferred.

    Args:
        label: Column to predict.
        time: Column with the event time; None: the order of the rows counts as time.
        dataset: Name of the dataset's folder; None: the model's name.
        task: 'binary', 'multiclass' or 'regression'; None: inferred.
        positive: For a binary label, the value that counts as true; None: inferred.

    Returns:
        The files written.

    Raises:
        SpecError: a name is bad or taken, or the file cannot be used; nothing was written.
    """
    refuse_names(name, dataset or name, project)
    proposal = propose(name, Path(data), label, time, dataset, task, positive)
    for note in notes(proposal):
        log.info(note)
    return write(proposal, project)


def refuse_names(name: str, dataset: str, project: Path) -> None:
    """Raise SpecError for a name that a folder cannot have, or that one has already."""
    for kind, folder, given in (("model", "bentos", name), ("dataset", "expectations", dataset)):
        if not re.fullmatch(NAME, given) or keyword.iskeyword(given):
            raise SpecError(
                project / folder, [f"{given!r} cannot name a {kind}: use a lower-case letter, then up to 40 lower-case letters, digits and underscores"]
            )
        if (project / folder / given).exists() or importlib.util.find_spec(f"{folder}.{given}") is not None:
            option = "" if kind == "model" else " with --dataset"
            raise SpecError(project / folder / given, [f"the name is taken, and nothing is ever written over; choose another{option}, or delete that folder"])


def write(proposal: Proposal, project: Path) -> list[Path]:
    """Write the two folders and return their files.

    Raises:
        SpecError, SourceError: what would be written does not work on the file; nothing was written.
    """
    project.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=project) as stage:
        data, model = Path(stage) / "expectations" / proposal.dataset, Path(stage) / "bentos" / proposal.name
        _write_dataset(proposal, data)
        _write_model(proposal, model)
        _write_from_rows(proposal, data, model)
        placed = [project / "expectations" / proposal.dataset, project / "bentos" / proposal.name]
        for made, place in zip((data, model), placed, strict=True):
            place.parent.mkdir(exist_ok=True)
            shutil.move(made, place)
    return sorted(path for place in placed for path in place.rglob("*") if path.is_file())


def _write_dataset(proposal: Proposal, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "dataset.toml").write_text(spec_files.dataset_toml(proposal), encoding="utf-8")
    if proposal.needs_loader:
        (folder / "source.py").write_text(python_files.source_py(proposal), encoding="utf-8")
    if proposal.copied:
        shutil.copyfile(proposal.table.path, folder / proposal.location)


def _write_model(proposal: Proposal, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "model.toml").write_text(spec_files.model_toml(proposal), encoding="utf-8")
    (folder / "pipeline.py").write_text(python_files.pipeline_py(proposal), encoding="utf-8")
    (folder / "service.py").write_text(python_files.service_py(proposal), encoding="utf-8")


def _write_from_rows(proposal: Proposal, data: Path, model: Path) -> None:
    """The suites and the sample, from the rows as the engine reads them and the features that the written code makes of them."""
    dataset = DatasetSpec(name=data.name, folder=data, **_content(data / "dataset.toml"))
    spec = ModelSpec(name=model.name, folder=model, **_content(model / "model.toml"))
    raw = source.read(dataset, "all")
    features = _features(model / "pipeline.py")(raw.drop(columns=list(dataset.outcome)))
    rows = typed(features, spec)
    (data / "raw.json").write_text(profile.raw_suite(dataset, raw), encoding="utf-8")
    (data / f"{spec.name}.json").write_text(profile.feature_suite(dataset.name, spec.name, rows, spec.contract.logged), encoding="utf-8")
    (model / "sample.json").write_text(spec_files.sample_json(features, proposal), encoding="utf-8")


def _content(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _features(path: Path) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """`features` of a staged pipeline.py, which must not be imported under the name that its place will have."""
    found = importlib.util.spec_from_file_location(f"_staged_{path.parent.name}", path)
    assert found is not None and found.loader is not None  # a .py file always has a loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    made: Callable[[pd.DataFrame], pd.DataFrame] = module.features
    return made
