"""Where the models of this machine answer."""

from tasks.settings import Settings


def addresses(settings: Settings) -> dict[str, str]:
    """Address of each model that the supervisor serves."""
    from tasks.release.local import LocalTarget

    return {name: f"http://{settings.host}:{served.port}" for name, served in LocalTarget(settings).status().items() if served.port}
