"""Every command of README and docs/ works as it is written, in the order it is written, on a platform that is up."""

import re
import subprocess
from pathlib import Path

import pytest
from platform_up import ROOT, Platform

PAGES = ["README.md", "docs/endpoint.md", "docs/new_model.md", "docs/operate.md"]
ELSEWHERE = {
    "make run": "tests/e2e/test_make.py, by `make test-slow`",
    "make demo": "tests/e2e/test_make.py, by `make test-slow`",
}


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    return [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines() if line and not line.startswith("#")]


def test_no_page_is_forgotten() -> None:
    with_commands = {str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if commands(page)}

    assert with_commands == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(platform: Platform, page: str) -> None:
    told = {"127.0.0.1:3000": "flights_late", "127.0.0.1:3001": "flights_airtime", "127.0.0.1:3002": "next", "127.0.0.1:4200": "ui"}
    for command in commands(ROOT / page):
        if command in ELSEWHERE:
            continue
        here = command
        for address, name in told.items():
            here = here.replace(address, f"127.0.0.1:{platform.ports[name]}")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", here], cwd=platform.project, env=platform.env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{page}: {command}\n{done.stdout}\n{done.stderr}"
        assert not done.stdout.startswith('{"error"'), f"{page}: {command}\n{done.stdout}"
