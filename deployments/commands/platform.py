"""The platform on this machine: up, down, deploy, demo."""

import typer

from deployments.commands.console import settings


def up() -> None:
    """Start everything on this machine, bring the models live, and stay until Ctrl-C or `ratchet down`."""
    from deployments.local.platform import up as start

    raise typer.Exit(start(settings()))


def down() -> None:
    """End a running `ratchet up` and wait until nothing is left of it."""
    from deployments.local.platform import down as stop

    typer.echo("stopped" if stop(settings()) else "nothing was running")


def deploy() -> None:
    """Register every deployment with Prefect again, after a folder was added, changed or removed."""
    from deployments.register import register

    names = register(settings())
    typer.echo("\n".join(names))


def demo() -> None:
    """The whole loop from an empty state, bounded; exit code 0 when it closed."""
    from deployments.demo.run import main

    raise typer.Exit(main(settings()))
