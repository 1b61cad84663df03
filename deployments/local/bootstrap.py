"""The first turn of the loop on a new installation: ingest the first batches, train each model, wait until it is live."""

from typing import TYPE_CHECKING

from deployments.first_turn import LOOK_SECONDS, Told, ingest, train, until_live
from deployments.local.serving import endpoints
from tasks import handoff
from tasks.installation import Installation
from tasks.ledger.questions import live

if TYPE_CHECKING:
    from deployments.local.platform import Platform


def bootstrap(platform: "Platform") -> None:
    """Bring each model live that is not; with a ledger that has them all live this does nothing."""
    here = Installation.of(platform.settings)
    if here.ledger.read():
        handoff.start("reconcile/all", {})  # what an earlier start left open is taken up now, not when the schedule comes round
    for name in here.project.datasets():
        ingest(platform, here, here.project.dataset(name))
    models = [here.project.model(name) for name in here.project.models()]
    until_live(platform, here, {spec.name: (spec, train(platform, here, spec)) for spec in models})
    until_answering(platform)
    announce(platform, here)


def until_answering(platform: "Platform") -> None:
    """Wait until each endpoint answers; one that cannot is told with its problem and not waited for."""
    told = Told(platform)
    while True:
        waiting = {name: endpoint for name, endpoint in endpoints(platform.settings).items() if not endpoint.live}
        for name, endpoint in waiting.items():
            told.say(name, f"waiting for {endpoint.address} ({name})" + (f": {endpoint.problem}" if endpoint.problem else ""))
        if not any(not endpoint.problem for endpoint in waiting.values()):
            return
        platform.pause(LOOK_SECONDS)


def announce(platform: "Platform", here: Installation) -> None:
    """Print where everything is."""
    history = here.ledger.read()
    settings = here.settings
    platform.say(f"UI       {settings.ui_url}   status: {settings.ui_url}/artifacts/key/status")
    for model, endpoint in endpoints(settings).items():
        release = live(history, model)
        platform.say(f"endpoint {endpoint.address}/predict   {model} {release.version if release else ''}".rstrip())
    platform.say("ready; Ctrl-C or `ratchet down` stops everything")
