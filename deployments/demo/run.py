"""`make demo`: the loop on this machine from an empty state, driven only by flow runs; ends with a table and demo.json."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from rich.console import Console

from deployments.demo.play import Demo
from deployments.demo.story import MODEL, Chapter, claims
from deployments.local.serving import endpoints
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.ledger.questions import live
from tasks.settings import Settings

STORY = (
    Chapter("stable", "2013-04", "none"),
    Chapter("drift", "2013-05", "none"),
    Chapter("concept change", "2013-06", "concept_change"),
    Chapter("unit change", "2013-07", "unit_change"),
    Chapter("shuffled labels", "2013-07", "shuffled_labels"),
)
REQUESTS = 20_000
START_SECONDS = 600.0


def main(settings: Settings) -> int:
    """Run the demo in a home of its own beside the installation's; 0 when the loop closed."""
    console, started = Console(width=None if sys.stdout.isatty() else 130), time.time()
    home = settings.root / "demo"
    shutil.rmtree(home, ignore_errors=True)
    inside = settings.model_copy(update={"home": home})
    os.environ |= {"RATCHET_HOME": str(home), "PREFECT_API_URL": inside.api_url, "PREFECT_UI_URL": inside.ui_url}
    own = os.environ | {"RATCHET_PARENT": str(os.getpid())}  # should the demo be killed, its platform ends too
    platform = subprocess.Popen([sys.executable, "-m", "deployments.cli", "up"], env=own, start_new_session=True)
    try:
        demo = Demo(Installation.of(inside), console, lambda: endpoints(inside)[MODEL].address, REQUESTS)
        _wait_for(lambda: _all_live(demo.here), platform, START_SECONDS, "both models to be live")
        for chapter in STORY:
            demo.play(chapter)
    finally:
        platform.send_signal(signal.SIGTERM)
        platform.wait(120)
    return demo.report(time.time() - started, settings.root / "demo.json", claims(demo.spans, demo.here.ledger.read(), demo.failed), {})


def _all_live(here: Installation) -> bool:
    history = here.ledger.read()
    return all(live(history, model) for model in here.project.models())


def _wait_for(true: Callable[[], bool], platform: "subprocess.Popen[bytes]", seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if platform.poll() is not None:
            raise PlatformError(f"`ratchet up` ended with code {platform.returncode} while the demo waited for {what}", "Its output above says why")
        if time.monotonic() > deadline:
            raise PlatformError(f"the demo waited {seconds:.0f} s for {what}", "See the runs in the Prefect UI")
        time.sleep(0.5)
