"""`make demo-kubernetes`: the loop on a cluster from an empty state, under callers that never stop; ends with a table and demo.json.

    python -m deployments.demo.kubernetes

Where a cluster lies beside the checkout (`RATCHET_CLUSTER`) it is brought up, and its images are built. The platform is left running.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from deployments.demo.load import Load
from deployments.demo.play import Demo, key, sample
from deployments.demo.story import MODEL, Chapter, Claim, claims
from deployments.kubernetes import cluster
from deployments.kubernetes.serving import addresses
from tasks import handoff
from tasks.errors import PlatformError, RatchetError
from tasks.installation import Installation
from tasks.ledger.questions import live, rows
from tasks.ledger.rows import ReleaseRow
from tasks.prefect_api import connection
from tasks.settings import Settings

STABLE, DRIFT = Chapter("stable", "2013-04", "none"), Chapter("drift", "2013-05", "none")
REQUESTS = 5_000  # per month and model, through the Service
CALLS = 50_000  # at least, from this machine through the node port, while versions are promoted, rolled back and undone
RELEASE_SECONDS = 600.0


def main() -> int:
    """Run the demo; 0 when the loop closed."""
    console, started = Console(width=None if sys.stdout.isatty() else 130), time.time()
    cluster.reset()
    os.environ |= cluster.up()
    settings = Settings()
    subprocess.run([sys.executable, "-m", "deployments.cli", "deploy", "--wait"], check=True)
    here = Installation.of(settings)
    demo = Demo(here, console, lambda: address(here), REQUESTS)
    demo.play(STABLE)
    body, never_ready = orjson.dumps(sample(here, STABLE.batch)), cluster.mute_image()
    with Load(address(here), body, key(here)) as load:
        demo.play(DRIFT)
        back = released(demo, "rollback", {"model": MODEL, "version": "previous"})
        newest = live_version(here, before=back)
        mute = released(demo, "release", {"model": MODEL, "version": newest}, image=never_ready)
        load.until_sent(CALLS)
    demo.sent, demo.failed = demo.sent + load.sent, demo.failed + load.failed
    found = [*claims(demo.spans, here.ledger.read(), demo.failed), *claimed(demo, back, mute)]
    more = {
        "rollback_seconds": back.seconds,
        "undone": {"seconds": mute.seconds, "reason": mute.reason},
        "load": {"requests": load.sent, "failed": load.failed, "clients": load.clients, "failures": dict(load.failures)},
    }
    return demo.report(time.time() - started, Path(".ratchet").resolve() / "demo.json", found, more)


def address(here: Installation) -> str:
    """The model's endpoint as this machine reaches it: a node port."""
    return addresses(here.settings, here.project)[MODEL]


def released(demo: Demo, deployment: str, parameters: dict[str, Any], image: str = "") -> ReleaseRow:
    """Run a release (with another serving image, if one is given) and return what the ledger says of its end."""
    demo.console.print(f"{deployment}/{MODEL}" + (f" with image {image}" if image else ""))
    run = start(f"{deployment}/{MODEL}", parameters | {"approver": "demo", "reason": f"the demo's {deployment}"}, image)
    outcome = handoff.wait(run, RELEASE_SECONDS)
    ended = [row for row in rows(demo.here.ledger.read(), ReleaseRow, model=MODEL, run=run) if row.step != "started"]
    if not ended:
        raise PlatformError(f"{deployment} of {MODEL} left no row in the ledger: {outcome.state_name}, {outcome.message}", handoff.link(run))
    return ended[-1]


def start(deployment: str, parameters: dict[str, Any], image: str) -> str:
    """A run of a deployment; only drills give it another serving image than its own."""
    if not image:
        return handoff.start(deployment, parameters)
    with connection() as client:
        found = client.read_deployment_by_name(deployment)
        variables = {"env": {**found.job_variables.get("env", {}), "RATCHET_SERVING_IMAGE": image}}
        return str(client.create_flow_run_from_deployment(found.id, parameters=parameters, job_variables=variables).id)


def live_version(here: Installation, before: ReleaseRow) -> str:
    """The version that answered before that release."""
    return next((row.version for row in reversed(rows(here.ledger.read(), ReleaseRow, model=MODEL, step="live")) if row.release != before.release), "")


def claimed(demo: Demo, back: ReleaseRow, mute: ReleaseRow) -> list[Claim]:
    """What the cluster adds to the story."""
    now = live(demo.here.ledger.read(), MODEL)
    return [
        Claim(f"the rollback went live, in {back.seconds} s", back.step == "live"),
        Claim(f"a package that fails its probes was undone: {mute.reason}", mute.step == "undone" and "probe" in mute.reason),
        Claim("the version before it went on answering", bool(now) and now is not None and now.release == back.release),
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RatchetError, subprocess.CalledProcessError) as err:
        print(f"ratchet: {err}", file=sys.stderr)
        sys.exit(2)
