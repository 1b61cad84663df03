"""One cluster for the session: `make demo-kubernetes` on it from an empty state, whose platform the drills then use.

With RATCHET_TEST_PLATFORM=running the drills take the platform that a demo has left, for whoever works on one of them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cluster_up import Cluster
from platform_up import ROOT
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

DEMO_SECONDS = 4800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test's set-up builds images and plays the demo."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.timeout(DEMO_SECONDS + 600))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    from deployments.kubernetes.cluster import environment

    if os.environ.get("RATCHET_TEST_PLATFORM") != "running":
        (ROOT / ".ratchet" / "demo.json").unlink(missing_ok=True)  # what an earlier demo told is not told of this one
        done = subprocess.run([sys.executable, "-m", "deployments.demo.kubernetes"], cwd=ROOT, env=os.environ, timeout=DEMO_SECONDS, check=False)
        assert done.returncode in (0, 1), "the demo did not come to its end; its output says why"
    told = environment()
    before = dict(os.environ)
    os.environ |= told
    # Prefect has read its settings by now, if any test has imported it.
    with temporary_settings({PREFECT_API_URL: told["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: told["PREFECT_API_AUTH_STRING"]}):
        yield Cluster(dict(os.environ), json.loads((ROOT / ".ratchet" / "demo.json").read_text()))
    os.environ.clear()
    os.environ |= before
