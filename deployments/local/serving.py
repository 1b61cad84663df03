"""Where the models of this machine answer, and whether they do."""

from dataclasses import dataclass

from tasks.settings import Settings


@dataclass(frozen=True)
class Endpoint:
    """One model's endpoint; `problem` is empty when it answers, or will in a moment."""

    address: str
    live: bool
    problem: str


def endpoints(settings: Settings) -> dict[str, Endpoint]:
    """Endpoint of each model that the supervisor serves."""
    from tasks.release.local import LocalTarget

    found = {name: status for name, status in LocalTarget(settings).status().items() if status.port}
    return {
        name: Endpoint(f"http://{settings.host}:{status.port}", status.state == "live", status.error if status.state == "down" else "")
        for name, status in sorted(found.items(), key=lambda pair: pair[1].port)
    }
