"""What serves a model tried out: its sample request and its service."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bentos.runtime.rows import request_model
from deployments.scaffold.problems import Problem, line_of, python_line
from tasks.spec import ModelSpec

if TYPE_CHECKING:
    from pydantic import ValidationError


def served(spec: ModelSpec) -> Iterator[Problem]:
    """Problems of sample.json and service.py."""
    yield from _sample(spec, spec.folder / "sample.json")
    path = spec.folder / "service.py"
    if not path.exists():
        return
    try:
        module = importlib.import_module(f"bentos.{spec.name}.service")
    except Exception as err:  # noqa: BLE001  # whatever an author's file raises on import is that file's problem
        if not isinstance(err, SyntaxError):
            yield Problem(path, python_line(path, err) or 1, f"does not import: {type(err).__name__}: {err}")
        return
    yield from _service(spec, module, path)


def _sample(spec: ModelSpec, path: Path) -> Iterator[Problem]:
    from pydantic import ValidationError

    if not path.exists():
        yield Problem(path, 1, "does not exist: it holds a request that must work")
        return
    text = path.read_text(encoding="utf-8")
    try:
        request_model(spec.contract, spec.serving.max_rows).model_validate_json(text)
    except ValidationError as err:
        yield from _refused(err, path, text)


def _refused(err: "ValidationError", path: Path, text: str) -> Iterator[Problem]:
    for error in err.errors(include_input=False, include_url=False):
        place = [str(part) for part in error["loc"]]
        line = line_of(path, error["msg"]) if error["type"] == "json_invalid" else _json_line(text, place)
        yield Problem(path, line, f"{'.'.join(place) or 'the request'}: {error['msg']}")


def _json_line(text: str, place: list[str]) -> int:
    """The line of the key that an error is about: its n-th occurrence for the n-th row, or where the rows begin."""
    row = next((int(part) for part in place if part.isdigit()), 0)
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if place and f'"{place[-1]}"' in line]
    return lines[min(row, len(lines) - 1)] if lines else 1


def _service(spec: ModelSpec, module: ModuleType, path: Path) -> Iterator[Problem]:
    import bentoml

    services = [value for value in vars(module).values() if isinstance(value, bentoml.Service)]
    named = [service for service in services if service.name == spec.name]
    if len(services) != 1 or not named:
        found = ", ".join(repr(service.name) for service in services) or "none"
        yield Problem(path, 1, f"must define one BentoML service, named {spec.name!r} (found: {found}); service_of() makes it")
        return
    if missing := [api for api in ("predict", "feedback") if api not in named[0].apis]:
        yield Problem(path, 1, f"its service has no {' and no '.join(missing)}")
        return
    wanted, given = request_model(spec.contract, spec.serving.max_rows).model_json_schema(), named[0].apis["predict"].input_spec.model_json_schema()
    if wanted.get("properties") != given.get("properties") or wanted.get("$defs") != given.get("$defs"):
        yield Problem(path, 1, "its /predict takes other rows than model.toml describes")
