"""Where the endpoints of a cluster answer people outside it, and whether its Prefect server does."""

from urllib.parse import urlsplit

import httpx

from tasks.settings import Settings
from tasks.spec import Project


def addresses(settings: Settings, project: Project) -> dict[str, str]:
    """Node-port address of each model that has one; without node ports callers come by whatever stands before the Services."""
    if not settings.endpoint_node_port:
        return {}
    slots = {name: project.model(name).serving.slot for name in project.models()}
    host = urlsplit(settings.server_url).hostname
    return {name: f"http://{host}:{settings.endpoint_node_port + slot}" for name, slot in slots.items() if slot is not None}


def is_up(settings: Settings) -> bool:
    """True when the Prefect server answers, with or without a key."""
    try:
        return httpx.get(f"{settings.api_url}/health", timeout=5).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False
