"""`ratchet score-file IN OUT`: a file of rows answered by the champion, with the numbers that its endpoint would give."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.console import JsonOption, history, settings, show
from tasks.project import Project

if TYPE_CHECKING:
    from tasks.scoring.batch import RowsOf, Scored


def score_file(
    source: Annotated[str, typer.Argument(metavar="IN", help="CSV or Parquet file, a path or an fsspec URL, with a column for each feature.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="File to write, .csv or .parquet; one that is there is replaced.")],
    model: Annotated[str, typer.Option(help="Name of a folder in bentos/; not needed when there is only one.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="IN holds raw rows of the dataset, of which features() makes the features.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Score a file with the champion. Rows that the endpoint would refuse get an `error` and no score, and then the exit code is 1."""
    scored = _score(model, source, target, raw)
    show(scored, as_json, f"{target}: {scored.sentence}")
    raise typer.Exit(1 if scored.refused else 0)


def _score(model: str, source: str, target: str, raw: bool) -> "Scored":
    found = settings()
    project = Project.of(found)
    name = model or _only(project)
    project.model(name)
    from tasks.scoring import batch
    from tasks.scoring.rows import feature_rows
    from tasks.store import Store

    scorer = batch.champion_scorer(history(found), name, Store.of(found))
    skew = timedelta(seconds=found.max_skew_seconds)
    return batch.score_file(scorer, source, target, _raw(project, name) if raw else feature_rows, skew)


def _raw(project: Project, name: str) -> "RowsOf":
    from tasks.data.event_time import timed
    from tasks.scoring.raw import raw_rows

    spec = project.model(name)
    return raw_rows(project.dataset(spec.dataset), spec, project.pipeline(name).features, timed)


def _only(project: Project) -> str:
    names = project.models()
    if len(names) != 1:
        raise typer.BadParameter(f"say which model: --model {' or --model '.join(names)}" if names else f"there is no model in {project.root / 'bentos'}")
    return names[0]
