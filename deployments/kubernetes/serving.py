"""Where the endpoints of a cluster answer people outside it, how they are served, and whether its Prefect server answers."""

from typing import Any
from urllib.parse import urlsplit

import httpx

from tasks.project import Project
from tasks.settings import Settings


def addresses(settings: Settings, project: Project) -> dict[str, str]:
    """Node-port address of each model that has one; without node ports callers come by whatever stands before the Services."""
    if not settings.endpoint_node_port:
        return {}
    slots = {name: project.model(name).serving.slot for name in project.models()}
    host = urlsplit(settings.server_url).hostname
    return {name: f"http://{host}:{settings.endpoint_node_port + slot}" for name, slot in slots.items() if slot is not None}


def served(settings: Settings, project: Project) -> dict[str, dict[str, Any]]:
    """How each model is served, as its Deployment says.

    Raises:
        PlatformError: the cluster's API cannot be reached.
    """
    from tasks.release.kubernetes import KubernetesTarget

    found = KubernetesTarget(settings, {name: project.model(name) for name in project.models()}).status()
    wanted = {"state", "version", "release", "restarts", "since", "error"}
    return {name: each.model_dump(mode="json", include=wanted) | (each.pods.model_dump() if each.pods else {}) for name, each in sorted(found.items())}


def is_up(settings: Settings) -> bool:
    """True when the Prefect server answers, with or without a key."""
    try:
        return httpx.get(f"{settings.api_url}/health", timeout=5).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False
