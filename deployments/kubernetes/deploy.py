"""`ratchet deploy` on a cluster: the work pool and every deployment as the folders say, changes proposed, new models on their way."""

import time

from deployments.first_turn import ingest, propose_first, start_ingest, until_live
from deployments.kubernetes.job_template import job_template
from deployments.local.runs import put_pool
from deployments.register import register
from tasks import handoff
from tasks.errors import PlatformError
from tasks.installation import Installation
from tasks.ledger.questions import live
from tasks.prefect_api import patiently
from tasks.settings import Settings


class Printer:
    """Says a line with the seconds since the start."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def say(self, text: str) -> None:
        """Print one plain line."""
        print(f"{time.monotonic() - self.begun:7.1f} s  {text}", flush=True)

    def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def deploy(settings: Settings, wait: bool) -> bool:
    """Bring Prefect to what the folders say, and see to it that what follows from them happens; False when waited in vain for a model.

    Runs in flight go on with the image they have: a Job's is never changed.

    Raises:
        PlatformError: an image is not named, or Prefect does not answer. SpecError: a folder is broken.
    """
    if not (settings.flow_image and settings.serving_image):
        raise PlatformError("No image is named for flow runs and serving pods", "Set RATCHET_FLOW_IMAGE and RATCHET_SERVING_IMAGE, or give --build.")
    printer = Printer()
    patiently(lambda: put_pool(settings.work_pool, "kubernetes", job_template(settings)))
    printer.say(f"the work pool {settings.work_pool!r} starts Jobs with {settings.flow_image}")
    names = patiently(lambda: register(settings))
    printer.say(f"{len(names)} deployments are registered")
    return first_turn(printer, Installation.of(settings), wait)


def first_turn(printer: Printer, here: Installation, wait: bool) -> bool:
    """Take up what is open, propose what has changed, and bring each model on that was never live; False when waited in vain for one."""
    models = [here.project.model(name) for name in here.project.models()]
    for spec in models:
        propose_first(here, spec)
    printer.say(f"what is open or has changed is taken up: {handoff.link(handoff.start('reconcile/all', {}))}")
    for name in here.project.datasets():
        (ingest if wait else start_ingest)(printer, here, here.project.dataset(name))
    if wait:
        until_live(printer, here, {spec.name: (spec, "") for spec in models})
    history = here.ledger.read()
    return not wait or all(live(history, spec.name) for spec in models)
