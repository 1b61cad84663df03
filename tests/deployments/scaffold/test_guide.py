"""The commands of docs/new_model.md do what the guide says; those that need the platform at least exist with these options."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from bentos.runtime.rows import request_model
from deployments.cli import app
from tasks.project import Project

ROOT = Path(__file__).parents[3]
LINES = [line for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "new_model.md").read_text(), re.DOTALL) for line in block.splitlines()]
HERE = re.compile(r"\.venv/bin/(python -c|ratchet (new|check)) ")  # the others need a running platform


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty project in which the guide's commands were run in turn, and what each printed."""
    project = tmp_path_factory.mktemp("guide")
    environment = {**os.environ, "RATCHET_PROJECT": str(project), "RATCHET_HOME": str(project / ".ratchet"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    printed = {}
    for line in filter(HERE.match, LINES):
        words = shlex.split(line)
        command = [sys.executable, *(["-m", "deployments.cli"] if words[0].endswith("ratchet") else []), *words[1:]]
        run = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
        printed[line] = run.stdout
    return project, printed


def test_the_guide_makes_a_model_without_errors(followed: tuple[Path, dict[str, str]]) -> None:
    project, printed = followed

    new, check = (next(text for line, text in printed.items() if f"ratchet {command}" in line) for command in ("new", "check"))

    assert Project(project).model("tumours").task == "binary"
    assert "the order of the rows counts as time" in new
    assert ": error: " not in check and ": warning: " not in check and ": hint: DECIDE" in check


def test_the_guides_request_fits_the_model_it_made(followed: tuple[Path, dict[str, str]]) -> None:
    project, _ = followed
    sample = next(re.search(r"@(\S+)", line)[1] for line in LINES if line.startswith("curl"))

    request = request_model(Project(project).model("tumours").contract, 1_000).model_validate_json((project / sample).read_text())

    assert len(request.rows) == len(json.loads((project / sample).read_text())["rows"])


@pytest.mark.parametrize("line", [line for line in LINES if "bin/ratchet" in line])
def test_every_command_of_the_guide_exists_with_its_options(line: str) -> None:
    _, command, *words = shlex.split(line)

    declared = {option for parameter in get_command(app).commands[command].params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} <= declared
