"""The families of a model's search tried out: each is drawn, fitted on a few real rows, and exported."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pandas as pd

from deployments.scaffold.problems import Problem, line_of, problems_of, python_line
from tasks.errors import RatchetError
from tasks.spec import ModelSpec
from tasks.training.export import export
from tasks.training.fit import fit

TRIAL_ROWS = 200
DRAWS = 40  # of a space with ten families, one is missed by chance less than once in seventy


def fitted_families(frame: pd.DataFrame, spec: ModelSpec, pipeline: ModuleType, code: Path) -> Iterator[Problem]:
    """Problems of space() and build(): draw from the one, fit one draw of each family on few of the rows, and export it."""
    try:
        families = _drawn(spec, pipeline)
    except Exception as err:  # noqa: BLE001  # an author's function may raise anything
        yield Problem(code, python_line(code, err) or line_of(code, "space()"), f"space() failed: {type(err).__name__}: {err}")
        return
    if len(families) < 2:
        yield Problem(
            code, line_of(code, "space()"), f"space() names {len(families)} family ({', '.join(families)}); a search needs at least two to choose from"
        )
    rows = _few(frame, spec)
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


def _few(frame: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """At most 200 rows in order, evenly spread, of classes as even as there are rows for it."""
    if spec.task == "regression":
        return _spread(frame, TRIAL_ROWS)
    each = max(2, TRIAL_ROWS // frame["label"].nunique())
    return pd.concat([_spread(rows, each) for _, rows in frame.groupby("label", sort=True)]).sort_index().reset_index(drop=True)


def _spread(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    step = max(1.0, len(frame) / count)
    return frame.iloc[[int(n * step) for n in range(min(count, len(frame)))]]


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
