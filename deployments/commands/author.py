"""What a model author does: write the folders of a model from a file, and find what is still wrong in them."""

import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.console import JsonOption, settings, show
from tasks.project import Project


def new(
    name: Annotated[str, typer.Argument(help="Name of the model, and of its folders.")],
    data: Annotated[Path, typer.Option("--from", help="CSV or Parquet file to look at.")],
    label: Annotated[str, typer.Option(help="Column to predict.")],
    time: Annotated[str, typer.Option(help="Column with the event time; none: the order of the rows counts as time.")] = "",
    dataset: Annotated[str, typer.Option(help="Name of the dataset's folder; none: the model's name.")] = "",
    task: Annotated[str, typer.Option(help="binary, multiclass or regression; none: inferred.")] = "",
    positive: Annotated[str, typer.Option(help="For a binary label, the value that counts as true; none: inferred.")] = "",
) -> None:
    """Write the folders of a dataset and a model, proposed from the data, commented where a person must decide."""
    from deployments.scaffold.new import new as write

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("deployments.scaffold").setLevel(logging.INFO)
    project = settings().project.resolve()
    written = write(name, data, label, time or None, project, dataset or None, task or None, positive or None)
    for path in written:
        typer.echo(f"wrote {path.relative_to(project)}")
    typer.echo(f"next: read them, then `ratchet check {name}`, then `ratchet train {name} --wait`")


def check(name: Annotated[str, typer.Argument(help="Name of a folder in bentos/ or expectations/.")], as_json: JsonOption = False) -> None:
    """What is still wrong in a model's folders, by file and line; exit code 1 when an error would keep it from being trained."""
    from deployments.scaffold.check import check as find

    problems = find(name, Project.of(settings()))
    errors = [problem for problem in problems if problem.level == "error"]
    verdict = f"{len(errors)} errors to mend" if errors else f"{name} can be trained: ratchet train {name} --wait"
    show([{**asdict(problem), "path": str(problem.path)} for problem in problems], as_json, "\n".join([*map(str, problems), verdict]))
    raise typer.Exit(1 if errors else 0)
