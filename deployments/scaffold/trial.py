"""A model's code tried out on real rows: features, both families, export, the sample request and the service."""

import importlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from bentos.runtime.rows import request_model
from deployments.scaffold.problems import Problem, line_of, problems_of, python_line
from tasks.data.snapshot import training_frame
from tasks.errors import LeakError, RatchetError, SpecError, TrainingError
from tasks.spec import DatasetSpec, ModelSpec, Project
from tasks.training.export import export
from tasks.training.fit import fit
from tasks.training.leak import find_leaks
from tasks.training.metrics import MIN_BLOCKS, block_codes
from tasks.training.split import Split, split

if TYPE_CHECKING:
    from pydantic import ValidationError

TRIAL_ROWS = 200
DRAWS = 40  # of a space with ten families, one is missed by chance less than once in seventy


def tried(spec: ModelSpec, dataset: DatasetSpec, raw: pd.DataFrame, project: Project) -> Generator[Problem, None, pd.DataFrame | None]:
    """Problems of pipeline.py and model.toml on raw rows; returns the training rows, or None where there are none."""
    toml, code = spec.folder / "model.toml", spec.folder / "pipeline.py"
    _forget(spec.name)
    try:
        pipeline = project.pipeline(spec.name)
        features = pipeline.features(raw.drop(columns=[c for c in {*dataset.outcome, spec.label.column} if c in raw]))
    except SpecError as err:
        yield from problems_of(err, code)
        return None
    except Exception:  # noqa: BLE001  # an author's function may raise anything; training_frame says it by name
        features = None
    try:
        frame = training_frame(raw, dataset, spec, pipeline.features)
    except (SpecError, LeakError) as err:
        yield from problems_of(err, code)
        return None
    if isinstance(features, pd.DataFrame):
        yield from _shape(features, spec)
    yield from _gate(spec, dataset, toml)
    try:
        parts = split(frame, spec.gate, spec.name)
    except TrainingError as err:
        yield from problems_of(err, toml, line_of(toml, "label.column"))
        return None
    if dataset.period == "all":
        yield from _judged(parts, spec, toml)
    for leak in find_leaks(parts.train, parts.holdout, spec):
        yield Problem(toml, line_of(toml, f"features.{leak.feature}"), str(leak), "warning")
    yield from _families(_few(frame, spec), spec, pipeline, code)
    return frame


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


def _forget(model: str) -> None:
    """Let the next import read an author's files as they are now."""
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name == f"bentos.{model}" or name.startswith(f"bentos.{model}.")]:
        del sys.modules[name]


def _shape(features: pd.DataFrame, spec: ModelSpec) -> Iterator[Problem]:
    """What features() returns against what model.toml promises of a request row."""
    toml, code = spec.folder / "model.toml", spec.folder / "pipeline.py"
    line = line_of(code, "features()")
    if extra := [str(name) for name in features if name not in spec.features]:
        yield Problem(code, line, f"features() also returns {', '.join(map(repr, extra[:5]))}, which model.toml does not list: no model sees it", "warning")
    for name, feature in spec.features.items():
        column, where = features[name], line_of(toml, f"features.{name}")
        nulls = int((column.isna() | (column == "")).sum())
        if nulls and not feature.nullable:
            yield Problem(
                toml,
                where,
                f"feature {name!r} is null in {nulls:,} of {len(column):,} rows, so requests will be as well; say nullable = true, or fill it in features()",
            )
        known = column.dropna()
        if feature.type == "category":
            if odd := sorted(set(known.astype(str)) - set(feature.closed)) if feature.closed else []:
                yield Problem(
                    toml, where, f"feature {name!r} holds {', '.join(map(repr, odd[:5]))}, which `closed` does not list: requests with it will be refused"
                )
            if pd.api.types.is_float_dtype(known):
                yield Problem(
                    code,
                    line,
                    f"features() gives category {name!r} numbers such as {known.iloc[0]!r}; a request must send exactly {str(known.iloc[0])!r}",
                    "warning",
                )
            continue
        numbers = known.astype("float64")
        if feature.type == "integer" and (numbers % 1 != 0).any():
            yield Problem(
                toml, where, f"feature {name!r} is an integer here, but holds numbers such as {numbers[numbers % 1 != 0].iloc[0]:g}; its type is number"
            )
        if feature.type == "boolean" and not numbers.isin([0, 1]).all():
            yield Problem(toml, where, f"feature {name!r} is boolean here, but holds numbers such as {numbers[~numbers.isin([0, 1])].iloc[0]:g}")


def _gate(spec: ModelSpec, dataset: DatasetSpec, toml: Path) -> Iterator[Problem]:
    if spec.gate.block == "entity" and not dataset.entity:
        yield Problem(toml, line_of(toml, "gate.block"), f"gate.block is 'entity', but dataset.toml of {dataset.name!r} names no entity")
    if spec.gate.block == "day" and not dataset.time:
        yield Problem(toml, line_of(toml, "gate.block"), "gate.block is 'day', but the dataset has no time column; its rows can be drawn by 'row'")
    for name in spec.gate.trusted:
        if name not in spec.features:
            yield Problem(toml, line_of(toml, "gate.trusted"), f"gate.trusted names {name!r}, which is no feature")


def _judged(parts: Split, spec: ModelSpec, toml: Path) -> Iterator[Problem]:
    """Whether the hold-out can judge at all."""
    if len(parts.holdout) < spec.gate.min_rows:
        yield Problem(
            toml,
            line_of(toml, "gate.min_rows"),
            f"the hold-out has {len(parts.holdout):,} rows and gate.min_rows is {spec.gate.min_rows:,}, so nothing would be promoted",
        )
    if spec.gate.block != "entity" and (blocks := int(block_codes(parts.holdout, spec.gate.block).max()) + 1) < MIN_BLOCKS:
        yield Problem(
            toml,
            line_of(toml, "gate.block"),
            f"the hold-out spans {blocks} {spec.gate.block} blocks, and the gate needs {MIN_BLOCKS}: lengthen it, or draw by 'row'",
        )
    if spec.task != "regression" and parts.holdout["label"].nunique() < 2:
        yield Problem(
            toml, line_of(toml, "gate.holdout_share"), f"the hold-out holds one class only ({parts.holdout['label'].iloc[0]}), so nothing can be judged"
        )


def _few(frame: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """At most 200 rows in order, evenly spread, of classes as even as there are rows for it."""
    if spec.task == "regression":
        return _spread(frame, TRIAL_ROWS)
    each = max(2, TRIAL_ROWS // frame["label"].nunique())
    return pd.concat([_spread(rows, each) for _, rows in frame.groupby("label", sort=True)]).sort_index().reset_index(drop=True)


def _spread(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    step = max(1.0, len(frame) / count)
    return frame.iloc[[int(n * step) for n in range(min(count, len(frame)))]]


def _families(rows: pd.DataFrame, spec: ModelSpec, pipeline: ModuleType, code: Path) -> Iterator[Problem]:
    """Draw from space(), fit one draw of each family, and export it."""
    try:
        families = _drawn(spec, pipeline)
    except Exception as err:  # noqa: BLE001  # an author's function may raise anything
        yield Problem(code, python_line(code, err) or line_of(code, "space()"), f"space() failed: {type(err).__name__}: {err}")
        return
    if len(families) < 2:
        yield Problem(
            code, line_of(code, "space()"), f"space() names {len(families)} family ({', '.join(families)}); a search needs at least two to choose from"
        )
    for family, params in families.items():
        try:
            fitted = fit(rows, spec, pipeline, params)
        except Exception as err:  # noqa: BLE001  # as above
            yield Problem(
                code,
                python_line(code, err) or line_of(code, "build()"),
                f"build() of family {family!r} does not fit {len(rows)} rows: {type(err).__name__}: {str(err)[:300]}",
            )
            continue
        yield from _exported(fitted, family, rows, spec, code)


def _drawn(spec: ModelSpec, pipeline: ModuleType) -> dict[str, dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: dict[str, dict[str, Any]] = {}
    for _ in range(DRAWS):
        params = {**pipeline.space(study.ask()), "seed": spec.seed}
        found.setdefault(params["family"], params)
    return found


def _exported(fitted: Any, family: str, rows: pd.DataFrame, spec: ModelSpec, code: Path) -> Iterator[Problem]:
    with TemporaryDirectory() as temporary:
        try:
            exported = export(fitted, spec, rows, rows, rows["event_time"].max().to_pydatetime(), Path(temporary) / "artefact")
        except RatchetError as err:
            yield from problems_of(err, code, line_of(code, "build()"))
            return
    if exported.format != "onnx":
        yield Problem(
            code, line_of(code, "build()"), f"family {family!r} is served by scikit-learn, about a hundred times slower a row: {exported.parity}", "warning"
        )


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
