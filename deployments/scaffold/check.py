"""`ratchet check`: what is still wrong with a model or a dataset, by file and line. Everything is tried on the dataset's own rows."""

import re
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from deployments.scaffold.problems import Level, Problem, line_of, problems_of
from deployments.scaffold.serving import served
from deployments.scaffold.trial import tried
from tasks.data import source
from tasks.data.suite import Suite, load_served_suite, load_suite
from tasks.data.validation import validate
from tasks.errors import SourceError, SpecError, UnknownNameError
from tasks.project import Project
from tasks.spec import DatasetSpec

ORDER: dict[Level, int] = {"error": 0, "warning": 1, "hint": 2}
DECIDE = re.compile(r"DECIDE:\s*(.*)")


@dataclass(frozen=True)
class Read:
    """A dataset and the rows of the first batch that a new installation would ingest."""

    spec: DatasetSpec
    raw: pd.DataFrame


def check(name: str, project: Project) -> list[Problem]:
    """Everything that is wrong with a model and its dataset, or with a dataset: errors, then warnings, then what waits for a person.

    Paths are relative to the project where they lie in it.

    Raises:
        UnknownNameError: neither a model nor a dataset has that name.
    """
    models, datasets = project.models(), project.datasets()
    if name not in {*models, *datasets}:
        raise UnknownNameError("model or dataset", name, {*models, *datasets}, project.root)
    found = dict.fromkeys(_model(name, project) if name in models else _dataset(name, project))
    told = [replace(problem, path=_within(problem.path, project.root)) for problem in found]
    return sorted(told, key=lambda problem: ORDER[problem.level])


def _model(name: str, project: Project) -> Iterator[Problem]:
    folder = project.root / "bentos" / name
    yield from _decisions(folder)
    yield from _syntax(folder / "pipeline.py")
    yield from _syntax(folder / "service.py")
    try:
        spec = project.model(name)
    except SpecError as err:
        yield from problems_of(err, folder / "model.toml")
        return
    path = project.root / "expectations" / spec.dataset / f"{name}.json"
    read = yield from _dataset(spec.dataset, project)
    suite = yield from _suite(path, lambda _: load_served_suite(spec))
    if read is not None:
        frame = yield from tried(spec, read.spec, read.raw, project)
        if frame is not None and suite is not None:
            logged = frame.drop(columns=spec.features.keys() - spec.contract.logged.keys())
            yield from _held(logged, suite, path, "the model's training rows", read.spec.personal)
    yield from served(spec)


def _dataset(name: str, project: Project) -> Generator[Problem, None, Read | None]:
    folder = project.root / "expectations" / name
    toml = folder / "dataset.toml"
    yield from _decisions(folder)
    yield from _syntax(folder / "source.py")
    suite = yield from _suite(folder / "raw.json")
    try:
        spec = project.dataset(name)
        batch = spec.first[0] if spec.first else "all" if spec.period == "all" else ""
        if not batch:
            yield Problem(toml, line_of(toml, "first"), "names no batch under `first`, so nothing was tried on rows", "warning")
            return None
        raw = source.read(spec, batch)
    except SpecError as err:
        yield from problems_of(err, toml)
        return None
    except SourceError as err:
        yield _unreadable(err, folder)
        return None
    wrong = [(key, column) for key in ("entity", "outcome", "personal") for column in getattr(spec, key) if column not in raw]
    for key, column in wrong:
        yield Problem(toml, line_of(toml, key), f"{key} names {column!r}, which is no column of the rows (they have: {', '.join(map(str, raw.columns[:20]))})")
    if suite is not None:
        yield from _held(raw, suite, folder / "raw.json", f"batch {batch!r}", spec.personal)
    return None if wrong else Read(spec, raw)


def _within(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _unreadable(err: SourceError, folder: Path) -> Problem:
    """On the line of source.py that failed, or on the key of dataset.toml that names the source or the time."""
    if (loader := folder / "source.py").exists() and (line := line_of(loader, "", err, 0)):
        return Problem(loader, line, str(err))
    spec = folder / "dataset.toml"
    return Problem(spec, line_of(spec, "time" if "time column" in str(err) else "source"), str(err))


def _suite(path: Path, load: Callable[[Path], Suite] = load_suite) -> Generator[Problem, None, Suite | None]:
    try:
        return load(path)
    except SpecError as err:
        yield from problems_of(err, path)
        return None


def _held(frame: pd.DataFrame, suite: Suite, path: Path, what: str, private: Collection[str]) -> Iterator[Problem]:
    # Training rows have no answers yet, which a suite of served rows may look at.
    asked = tuple(each for each in suite.expectations if "prediction" not in each.columns or "prediction" in frame)
    validation = validate(frame, suite.model_copy(update={"expectations": asked}), private)
    if validation.findings:
        yield Problem(path, 1, f"{what}: {validation.verdict_sentence}", "warning")


def _syntax(path: Path) -> Iterator[Problem]:
    if not path.exists():
        if path.name != "source.py":
            yield Problem(path, 1, "does not exist")
        return
    try:
        compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError) as err:
        yield Problem(path, getattr(err, "lineno", None) or 1, f"is no Python: {getattr(err, 'msg', err)}")


def _decisions(folder: Path) -> Iterator[Problem]:
    for path in sorted([*folder.glob("*.toml"), *folder.glob("*.py")]):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if match := DECIDE.search(line):
                yield Problem(path, number, f"DECIDE: {match[1].strip().strip(chr(34))}", "hint")
