"""The commands of docs/backup.md, run as they are written: what they restore is whole, and a restore that is not is noticed.

For the commands of a cluster, `kubectl` is a script that runs PostgreSQL's programs here, on a real server.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from factories import batch, day, version
from platform_up import ROOT
from postgres import Postgres, own_postgres
from s3 import Bucket, s3, s3_server

from tasks.ledger.chain import Ledger
from tasks.ledger.rows import AlertRow
from tasks.store import Ref, Store

__all__ = ["own_postgres", "s3", "s3_server"]


def section(title: str) -> list[list[str]]:
    """The commands of each block of a section of the page."""
    text = (ROOT / "docs" / "backup.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]


@dataclass
class Operator:
    """Somebody who types commands in a folder of their own."""

    folder: Path
    env: dict[str, str]

    def types(self, command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)

    def does(self, commands: list[str]) -> None:
        for command in commands:
            done = self.types(command)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    (tmp_path / "backup").mkdir()
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "PREFECT_"))}
    return Operator(tmp_path, env | {"PATH": f"{Path(sys.prefix) / 'bin'}:{env['PATH']}", "PYTHONPATH": str(ROOT)})


def work(ledger: Ledger, store: Store) -> Ref:
    """What a platform leaves behind: rows, and the bytes that they name."""
    ref = store.put(b"rows of January", ".parquet")
    ledger.append(batch("2013-01", day(1)).model_copy(update={"ref": str(ref)}))
    ledger.append(version("late-1"), AlertRow(subject="late", message="ünïcode and 'quotes'"))
    return ref


def here(operator: Operator) -> tuple[Ledger, Store]:
    home = operator.folder / ".ratchet"
    (home / "log").mkdir(parents=True, exist_ok=True)
    (home / "hash.key").write_text("a secret\n")
    return Ledger(f"sqlite:///{home / 'ledger.db'}", home), Store(f"file://{home / 'store'}")


def test_a_backup_of_one_machine_is_a_home_that_holds(operator: Operator) -> None:
    ledger, store = here(operator)
    ref = work(ledger, store)
    save, check = section("On one machine")

    operator.does(save + check)
    shutil.rmtree(operator.folder / ".ratchet")
    shutil.copytree(operator.folder / "backup", operator.folder / ".ratchet")

    restored, store = here(operator)
    assert [entry.row.kind for entry in restored.read()] == ["batch", "version", "alert"]
    assert store.get(ref) == b"rows of January"
    restored.append(AlertRow(subject="late", message="it goes on"))
    assert restored.verify() == 4


def test_a_backup_with_changed_bytes_or_a_missing_tail_does_not_pass_its_check(operator: Operator) -> None:
    ledger, store = here(operator)
    ref = work(ledger, store)
    save, (verify, check) = section("On one machine")
    operator.does(save)
    (operator.folder / "backup" / "store" / ref.key).write_bytes(b"rows of Januar!")
    ledger.append(AlertRow(subject="late", message="after the backup"))
    (operator.folder / "backup" / "noted").write_text(f"head {ledger.head()}")

    assert "its tail was removed or rewritten" in operator.types(verify).stderr
    assert f"{ref.digest}.parquet: FAILED" in operator.types(check).stdout


@dataclass
class Cluster:
    """A database and a bucket, and an operator who reaches them."""

    operator: Operator
    server: Postgres
    bucket: Bucket

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.operator.env["RATCHET_LEDGER_URL"], self.operator.folder)

    @property
    def store(self) -> Store:
        return Store(f"{self.bucket.url}/store")

    def lose_everything(self) -> None:
        """A fresh server in place of the old one, and an empty bucket."""
        self.server.run("dropdb", "--force", "ratchet")
        self.server.run("createdb", "ratchet")
        for path in self.bucket.folder.iterdir():
            shutil.rmtree(path)


@pytest.fixture
def cluster(operator: Operator, own_postgres: Postgres, s3: Bucket) -> Cluster:
    script = operator.folder / "kubectl"
    script.write_text('#!/bin/bash\nset -eu\n[ "$1" = exec ] || exit 0\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    script.chmod(0o755)
    own_postgres.run("createdb", "ratchet")
    as_server = {"PGHOST": str(own_postgres.folder), "PGPORT": str(own_postgres.port), "PGUSER": "ratchet"}
    operator.env |= {**as_server, **s3.env, "RATCHET_LEDGER_URL": own_postgres.over_tcp("ratchet")}
    operator.env["PATH"] = f"{operator.folder}:{own_postgres.programs}:{operator.env['PATH']}"
    return Cluster(operator, own_postgres, s3)


def commands_for(cluster: Cluster, commands: list[str]) -> list[str]:
    """The bucket of a test has a name of its own."""
    return [command.replace('"ratchet/"', f'"{cluster.bucket.folder.name}/"') for command in commands]


def test_a_backup_of_a_cluster_restores_into_a_fresh_server_and_an_empty_bucket(cluster: Cluster) -> None:
    ref = work(cluster.ledger, cluster.store)
    before = cluster.ledger.read()
    save, restore = section("On a cluster")

    cluster.operator.does(commands_for(cluster, save))
    cluster.lose_everything()
    cluster.operator.does(commands_for(cluster, restore))

    assert cluster.ledger.read() == before
    assert cluster.store.get(ref) == b"rows of January"
    cluster.ledger.append(AlertRow(subject="late", message="it goes on"))
    assert cluster.ledger.verify() == 4


def test_a_backup_restores_over_a_ledger_that_has_gone_on(cluster: Cluster) -> None:
    work(cluster.ledger, cluster.store)
    save, restore = section("On a cluster")
    cluster.operator.does(commands_for(cluster, save))
    cluster.ledger.append(AlertRow(subject="late", message="rows that are given up"))

    cluster.operator.does(commands_for(cluster, restore))

    assert cluster.ledger.verify() == 3


def test_a_restore_that_lost_the_newest_rows_is_noticed_by_the_noted_head_alone(cluster: Cluster) -> None:
    work(cluster.ledger, cluster.store)
    save, restore = section("On a cluster")
    cluster.operator.does(commands_for(cluster, save))
    cluster.ledger.append(AlertRow(subject="late", message="after the dump"))
    cluster.operator.does(save[:1])  # the head is noted later than the dump was made
    cluster.lose_everything()

    *steps, verify, start = commands_for(cluster, restore)
    cluster.operator.does(steps)

    assert cluster.operator.types("ratchet verify").returncode == 0
    noticed = cluster.operator.types(verify)
    assert noticed.returncode == 2
    assert "Ledger row 4: missing: the noted head" in noticed.stderr
    assert "scale" in start


def test_a_row_that_was_changed_in_a_dump_is_named(cluster: Cluster) -> None:
    work(cluster.ledger, cluster.store)
    cluster.server.run("psql", "--quiet", "--dbname", "ratchet", "--command", "UPDATE ledger SET body = replace(body, 'ünïcode', 'unicode')")
    noted = section("On a cluster")[0][0]

    noticed = cluster.operator.types(noted)

    assert noticed.returncode == 2
    assert "Ledger row 3: its text is not the text that was recorded" in noticed.stderr
