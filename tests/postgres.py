"""A private PostgreSQL server for tests: Debian's programs, a folder that goes with it, a socket and a free port on loopback."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from ports import free_port

PASSWORD = "only-for-tests"


@dataclass(frozen=True)
class Postgres:
    """A server in a folder of its own. `user` is the account it runs as: it refuses to run as root."""

    programs: Path
    folder: Path
    port: int
    user: str

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run one of PostgreSQL's programs as the server's account, connected over the socket."""
        account = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        env = {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": "ratchet", "PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        program = [str(self.programs / command[0]), *command[1:]]
        done = subprocess.run(program, cwd=self.folder, env=env, capture_output=True, text=True, check=False, **account)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done  # type: ignore[no-any-return]

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder} -c max_connections=200"
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-t", "180", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends its clients, `immediate` is like a crash."""
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", mode, "stop")

    def database(self) -> str:
        """A new empty database; its name."""
        name = f"ratchet_{uuid4().hex[:12]}"
        self.run("createdb", name)
        return name

    def over_tcp(self, database: str) -> str:
        """URL of a database as another host reaches it, with a password."""
        return f"postgresql+psycopg://ratchet:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def over_socket(self, database: str) -> str:
        """URL of a database as the same host reaches it."""
        return f"postgresql+psycopg://ratchet@/{database}?host={self.folder}&port={self.port}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server for the session; a test asks it for databases."""
    with private() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A running server of this test alone, which may stop and break it."""
    with private() as server:
        yield server


@contextmanager
def private() -> Iterator[Postgres]:
    """A running server that ends with everything it wrote."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("there is no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql")
    user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "postgres"
    with tempfile.TemporaryDirectory(prefix="ratchet-pg-") as name:
        server = Postgres(found[-1].parent, Path(name), free_port(), user)
        password = server.folder / "password"
        password.write_text(PASSWORD)
        os.chown(server.folder, pwd.getpwnam(user).pw_uid, -1)
        os.chown(password, pwd.getpwnam(user).pw_uid, -1)
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        server.run("initdb", "-D", f"{name}/data", "-U", "ratchet", "-E", "UTF8", "--locale=C.UTF-8", *auth)
        server.start()
        try:
            yield server
        finally:
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop("immediate")
