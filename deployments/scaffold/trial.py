"""A model's code tried out on real rows: its features, what model.toml says of them, the cut in time, and both families."""

import importlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pandas as pd

from deployments.scaffold.families import fitted_families
from deployments.scaffold.problems import Problem, line_of, problems_of
from tasks.data.snapshot import training_frame
from tasks.errors import LeakError, SpecError, TrainingError
from tasks.project import Project
from tasks.spec import DatasetSpec, ModelSpec
from tasks.training.leak import find_leaks
from tasks.training.metrics import MIN_BLOCKS, block_codes
from tasks.training.split import Split, split


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
    yield from fitted_families(frame, spec, pipeline, code)
    return frame


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
