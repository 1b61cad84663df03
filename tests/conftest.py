"""What the session shares: an empty Prefect server, and a whole platform of a copy of this tree with a home of its own and real flights."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_up import Platform, copy_of_tree
from ports import free_ports
from prefect_up import prefect_client, prefect_server
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

__all__ = ["platform", "prefect_client", "prefect_server"]

END_TO_END = "tests/e2e/"
PLATFORM_SECONDS = 1200  # the first test's set-up trains every model, and each of them waits for flow runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for a platform may take longer than other tests on a busy machine, and comes first where two processes share the tests."""
    for item in items:
        if "platform" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(PLATFORM_SECONDS))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(END_TO_END))


class ByFile(LoadFileScheduling):
    """A file's tests share their fixtures, and all of the end-to-end ones a platform: each such group is for one process."""

    def _split_scope(self, nodeid: str) -> str:
        return END_TO_END if nodeid.startswith(END_TO_END) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """See `ByFile`."""
    return ByFile(config, log)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    base = tmp_path_factory.mktemp("platform")
    project, home = base / "project", base / "home"
    copy_of_tree(project)
    (project / ".venv").symlink_to(Path(sys.prefix))
    first = free_ports(10)
    # A run for every 15 s is more than two slow cores get done, and nothing limits how many wait.
    settings = {"HOME": home, "PROJECT": project, "UI_PORT": first, "REPORTS_PORT": first + 1, "ENDPOINT_PORT": first + 2, "RECONCILE_SECONDS": 20}
    settings["READY_SECONDS"] = 180  # for a server that starts beside other tests
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "PREFECT_"))}
    env |= {f"RATCHET_{name}": str(value) for name, value in settings.items()}
    env |= {"PREFECT_API_URL": f"http://127.0.0.1:{first}/api", "PATH": f"{project / '.venv' / 'bin'}:{env['PATH']}"}
    ports = {"ui": first, "flights_late": first + 2, "flights_airtime": first + 3, "next": first + 4}
    running = Platform(project, home, env, ports, None)  # type: ignore[arg-type]  # booted below
    try:
        running.boot()
        yield running
    finally:
        if running.process and running.process.poll() is None:
            running.stop()
