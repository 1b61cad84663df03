"""Where the models of this machine answer, whether they do, and how they are served."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deployments.local.usage import bytes_of, usage
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.release.target import ServingStatus


@dataclass(frozen=True)
class Endpoint:
    """One model's endpoint; `problem` is empty when it answers, or will in a moment."""

    address: str
    live: bool
    problem: str


def endpoints(settings: Settings) -> dict[str, Endpoint]:
    """Endpoint of each model that the supervisor serves."""
    found = statuses(settings)
    return {
        name: Endpoint(f"http://{settings.host}:{status.port}", status.state == "live", status.error if status.state == "down" else "")
        for name, status in sorted(found.items(), key=lambda pair: pair[1].port)
    }


def statuses(settings: Settings) -> "dict[str, ServingStatus]":
    """What the supervisor says of each model that has a port."""
    from tasks.release.local import LocalTarget

    return {name: status for name, status in LocalTarget(settings).status().items() if status.port}


def served(settings: Settings) -> dict[str, dict[str, Any]]:
    """How each model is served: what the supervisor says of it, and what the kernel says of its processes."""
    found: dict[str, dict[str, Any]] = {}
    for name, status in sorted(statuses(settings).items(), key=lambda pair: pair[1].port):
        facts = status.model_dump(mode="json", include={"state", "version", "release", "pid", "restarts", "since", "error"})
        used = usage(status.pid) if status.pid else None
        address = f"http://{settings.host}:{status.port}"
        found[name] = facts | {"address": address} | (asdict(used) if used else {}) | {"log_bytes": bytes_of(settings.logs / name)}
    return found
