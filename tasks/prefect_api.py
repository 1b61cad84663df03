"""Prefect's API: a connection to it, and bearing with one that is busy or away for a while."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from tasks.errors import ApiBusyError, PlatformError
from tasks.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

T = TypeVar("T")
OUTAGE_SECONDS = 60.0  # how long an API may be away: a server that died is up again after 5 s, on a busy machine after 20 s


@contextmanager
def connection() -> Iterator["SyncPrefectClient"]:
    """A client of the API that this process is told of, else of this installation.

    Inside a flow run it bears with a server that is away for a while: the run has work to lose. Elsewhere it fails at once.

    Raises:
        PlatformError: the API is not reachable, or refuses our key. ApiBusyError: it answers with a server error.
    """
    import httpx
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    settings = Settings()
    api = PREFECT_API_URL.value() or settings.api_url
    auth: str | None = PREFECT_API_AUTH_STRING.value()
    try:
        with SyncPrefectClient(api, auth_string=auth) as client:
            _greet(client, time.monotonic() + (OUTAGE_SECONDS if current_run() else 0))
            yield client
    except PrefectHTTPStatusError as err:
        if err.response.status_code == HTTPStatus.UNAUTHORIZED:
            found = "a wrong PREFECT_API_AUTH_STRING" if auth else "no PREFECT_API_AUTH_STRING"
            raise PlatformError(
                f"The Prefect API at {api} asks for a key and was given {found} (HTTP 401)", "Set it to the server's, as user:password."
            ) from err
        if err.response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise ApiBusyError(api, err.response.status_code) from err
    except httpx.TransportError as err:
        remedy = "Start the platform with `ratchet up`." if settings.target == "local" else "Set RATCHET_PUBLIC_URL to where it answers, or see its pod."
        raise PlatformError(f"The Prefect API at {api} does not answer ({err or type(err).__name__})", remedy) from err


def patiently(call: Callable[[], T], seconds: float = OUTAGE_SECONDS) -> T:
    """What `call` returns; a busy API is asked again for a while. The call must be one that may be made twice.

    Raises:
        ApiBusyError: it was busy all that time. Whatever else the call raises comes at once.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except ApiBusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def deployment_names(client: "SyncPrefectClient") -> list[str]:
    """Names `flow/name` of every registered deployment."""
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return [f"{flows.get(found.flow_id, '?')}/{found.name}" for found in client.read_deployments()]


def current_run() -> str:
    """Id of the flow run that this is called in; empty outside one."""
    from prefect.context import FlowRunContext, TaskRunContext

    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow and flow.flow_run:
        return str(flow.flow_run.id)
    return str(task.task_run.flow_run_id) if task and task.task_run.flow_run_id else ""


def _greet(client: "SyncPrefectClient", until: float) -> None:
    """Reach the API for the first time; from then on Prefect's client itself tries again."""
    import httpx

    while True:
        try:
            client.hello()
        except httpx.TransportError:
            if time.monotonic() >= until:
                raise
            time.sleep(1.0)
        else:
            return
