"""Suites as files: read strictly, so that every line an author wrote will be evaluated."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.data.findings import shown
from tasks.data.suite_lint import Problem, columns_of, entry_lines, is_entry, lint
from tasks.errors import SpecError
from tasks.spec import ModelSpec


class Expectation(BaseModel):
    """One entry of a suite."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    kwargs: dict[str, Any]
    severity: Literal["critical", "warning"] = "critical"

    @property
    def columns(self) -> list[str]:
        """Columns it is about."""
        return columns_of(self.kwargs)


class Suite(BaseModel):
    """A suite that was loaded strictly. `digest` is the sha256 of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str
    expectations: tuple[Expectation, ...] = Field(min_length=1)


def suite_digest(path: Path) -> str:
    """The sha256 that names a suite, without loading it.

    Raises:
        SpecError: there is no such file.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as err:
        raise SpecError(path, ["does not exist; every dataset and model needs its suite"]) from err


def load_suite(path: Path) -> Suite:
    """Read a suite file and refuse it unless every line of it will be evaluated.

    Raises:
        SpecError: names every problem with its line: unknown type, key, argument or severity, an entry that stands there
            twice, no expectations, no row count, a column whose nulls nobody checks, bounds or types that cannot work.
    """
    digest = suite_digest(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except ValueError as err:  # bad JSON and bad encoding alike
        raise SpecError(path, [f"is not valid JSON: {err}"]) from err
    problems = lint(content)
    entries = content.get("expectations") if isinstance(content, dict) else None
    entries = entries if isinstance(entries, list) else []
    problems += [Problem(n, refusal) for n, entry in enumerate(entries) if is_entry(entry) for refusal in _refusals(entry)]
    if problems:
        lines = entry_lines(text) if entries else []
        raise SpecError(path, [_worded(problem, entries, lines) for problem in sorted(problems, key=lambda p: -1 if p.entry is None else p.entry)])
    kept = ("type", "kwargs", "severity")
    return Suite(name=content["name"], digest=digest, expectations=tuple(Expectation(**{k: e[k] for k in kept if k in e}) for e in entries))


def load_served_suite(spec: ModelSpec) -> Suite:
    """Read the suite of a model's served rows.

    Raises:
        SpecError: as `load_suite`, or it asks for a feature that the prediction log does not hold as it was sent.
    """
    path = spec.folder.parents[1] / "expectations" / spec.dataset / f"{spec.name}.json"
    suite = load_suite(path)
    lines = entry_lines(path.read_text(encoding="utf-8"))
    problems = [
        f'line {line}: {check.type} asks for {name!r}, which the prediction log does not hold (log = "{spec.features[name].log}" in model.toml): remove it'
        for line, check in zip(lines, suite.expectations, strict=True)
        for name in check.columns
        if name in spec.features.keys() - spec.contract.logged.keys()
    ]
    if problems:
        raise SpecError(path, problems)
    return suite


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's warnings about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refusals(entry: dict[str, Any]) -> list[str]:
    """Why Great Expectations would not evaluate an entry."""
    with quiet():
        import great_expectations.expectations as gxe  # noqa: F401  # registers the types
        from great_expectations.compatibility.pydantic import ValidationError
        from great_expectations.exceptions.exceptions import ExpectationNotFoundError
        from great_expectations.expectations.registry import get_expectation_impl, list_registered_expectation_implementations

        try:
            get_expectation_impl(entry["type"])(**entry["kwargs"])
        except ExpectationNotFoundError:
            near = get_close_matches(entry["type"], list_registered_expectation_implementations(), n=1)
            return ["there is no expectation of that type" + (f"; did you mean {near[0]!r}?" if near else "")]
        except ValidationError as err:
            return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix("__root__: ") for e in err.errors()]
        except (TypeError, ValueError) as err:
            return [shown(err, 120)]
    return []


def _worded(problem: Problem, entries: list[Any], lines: list[int]) -> str:
    if problem.entry is None:
        return problem.text
    entry = entries[problem.entry]
    kind = entry.get("type", "") if isinstance(entry, dict) else ""
    where = f"line {lines[problem.entry]}" if len(lines) == len(entries) else f"expectation {problem.entry + 1}"
    return f"{where}: {kind} {problem.text}".replace(":  ", ": ")
