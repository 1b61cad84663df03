"""The platform on this machine: up, down, deploy, demo."""

from typing import Annotated

import typer

from deployments.commands.console import settings
from tasks.errors import PlatformError


def up() -> None:
    """Start everything on this machine, bring the models live, and stay until Ctrl-C or `ratchet down`."""
    from deployments.local.platform import up as start

    raise typer.Exit(start(settings()))


def down() -> None:
    """End a running `ratchet up` and wait until nothing is left of it."""
    from deployments.local.platform import down as stop

    typer.echo("stopped" if stop(settings()) else "nothing was running")


def deploy(
    image: Annotated[str, typer.Option(help="Kubernetes: image of flow runs; none: RATCHET_FLOW_IMAGE.")] = "",
    serving_image: Annotated[str, typer.Option(help="Kubernetes: image of serving pods; none: RATCHET_SERVING_IMAGE.")] = "",
    build: Annotated[bool, typer.Option("--build", help="Kubernetes: build both images from this checkout first.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Kubernetes: wait until each model is live; exit code 1 when one is not.")] = False,
) -> None:
    """Register every deployment with Prefect again, after a folder was added, changed or removed; on a cluster new models then go live."""
    from deployments.register import register

    found = settings()
    if found.target == "local":
        if image or serving_image or build or wait:
            raise PlatformError("The options of `ratchet deploy` are for RATCHET_TARGET=kubernetes", "On one machine `ratchet up` brings models live.")
        typer.echo("\n".join(register(found)))
        return
    from deployments.kubernetes.deploy import deploy as to_cluster

    chosen = _built() if build else {}
    chosen |= {name: value for name, value in (("flow_image", image), ("serving_image", serving_image)) if value}
    raise typer.Exit(0 if to_cluster(found.model_copy(update=chosen), wait) else 1)


def _built() -> dict[str, str]:
    from deployments.kubernetes.images import build

    return {f"{name}_image": build(name) for name in ("flow", "serving")}


def demo() -> None:
    """The whole loop from an empty state, bounded; exit code 0 when it closed."""
    from deployments.demo.run import main

    raise typer.Exit(main(settings()))
