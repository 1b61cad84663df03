"""Every command of README and docs/ works as it is written, in the order it is written, on a platform that is up."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_up import ROOT, Platform

PAGES = ["README.md", "docs/backup.md", "docs/endpoint.md", "docs/kubernetes.md", "docs/new_model.md", "docs/operate.md"]
BACKUP = "tests/deployments/test_backup.py, on a PostgreSQL and an S3 server of its own"
ELSEWHERE = {
    "make run": "tests/e2e/test_make.py, by `make test-slow`",
    "make demo": "tests/e2e/test_make.py, by `make test-slow`",
    "make demo-kubernetes": "tests/kubernetes, by `make test-kubernetes`",
    "kubectl exec -n ratchet postgres-0 -- pg_dump --format custom ratchet > backup/ledger.dump": BACKUP,
    """.venv/bin/python -c 'import fsspec; fsspec.filesystem("s3").get("ratchet/", "backup/bucket/", recursive=True)'""": BACKUP,
    "kubectl scale -n ratchet deployment/worker --replicas 0": BACKUP,
    "kubectl exec -i -n ratchet postgres-0 -- pg_restore --clean --if-exists --single-transaction --dbname ratchet < backup/ledger.dump": BACKUP,
    """.venv/bin/python -c 'import fsspec; fsspec.filesystem("s3").put("backup/bucket/", "ratchet/", recursive=True)'""": BACKUP,
    "kubectl scale -n ratchet deployment/worker --replicas 1": BACKUP,
}


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    return [command for block in blocks for command in whole(re.sub(r"\\\n\s*", "", block).splitlines()) if command and not command.startswith("#")]


def whole(lines: list[str]) -> Iterator[str]:
    """Lines, those inside one pair of quotes together."""
    command = ""
    for line in lines:
        command = f"{command}\n{line}" if command else line
        if command.startswith("#") or command.count("'") % 2 == 0:
            yield command
            command = ""


def test_no_page_is_forgotten() -> None:
    with_commands = {str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if commands(page)}

    assert with_commands == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(platform: Platform, page: str) -> None:
    for command in commands(ROOT / page):
        if command in ELSEWHERE:
            continue
        here = on(platform, command)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", here], cwd=platform.project, env=platform.env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{page}: {command}\n{done.stdout}\n{done.stderr}"
        assert not done.stdout.startswith('{"error"'), f"{page}: {command}\n{done.stdout}"


def test_the_typed_client_of_the_page_works(platform: Platform) -> None:
    (client,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/endpoint.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", on(platform, client)], cwd=platform.project, env=platform.env, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stderr
    assert str(platform.predict()["version"]) in done.stdout


def on(platform: Platform, text: str) -> str:
    """What a page says, with the ports of the platform that it is tried on."""
    for address, name in {"127.0.0.1:3000": "flights_late", "127.0.0.1:3001": "flights_airtime", "127.0.0.1:3002": "next", "127.0.0.1:4200": "ui"}.items():
        text = text.replace(address, f"127.0.0.1:{platform.ports[name]}")
    return text
