"""How one flow hands over to the next: by starting a run of a named Prefect deployment, never by calling the other flow."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from tasks.errors import PlatformError, UnknownNameError
from tasks.prefect_api import OUTAGE_SECONDS, connection, current_run, deployment_names, patiently
from tasks.settings import Settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

RunState = Literal["unknown", "alive", "dead"]
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class RunOutcome:
    """Where a flow run stands."""

    state_type: str
    state_name: str
    message: str

    @property
    def final(self) -> bool:
        """True when the run will not go on by itself."""
        return self.state_type in FINAL

    @property
    def completed(self) -> bool:
        """True when the run ended well."""
        return self.state_type == "COMPLETED"


def start(deployment: str, parameters: dict[str, Any], key: str = "", tags: Sequence[str] = ()) -> str:
    """Create a run of the deployment `flow/name` and return its id.

    The same `key` gives the same run, however often it is asked for. Inside a flow run the new run carries the tag
    `after:<id of this run>`, and the log of this run links the new one.

    Raises:
        UnknownNameError: no such deployment. PlatformError: the API is not reachable, or refuses the parameters.
    """
    giver = current_run()
    once = key or f"once:{uuid4()}"  # a reply may be lost: asking again then finds the run that was made
    run_id = patiently(lambda: _create(deployment, parameters, once, [*tags, *([f"after:{giver}"] if giver else [])]))
    if giver:
        from prefect.logging import get_run_logger

        get_run_logger().info("Handed over to %s: %s", deployment, link(run_id))
    return run_id


def _create(deployment: str, parameters: dict[str, Any], key: str, tags: list[str]) -> str:
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    with connection() as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            raise UnknownNameError("deployment", deployment, deployment_names(client), "Prefect") from None
        try:
            return str(client.create_flow_run_from_deployment(found.id, parameters=parameters, idempotency_key=key, tags=tags).id)
        except PrefectHTTPStatusError as err:
            if err.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise  # the connection says what that means
            raise PlatformError(f"Prefect refuses to start {deployment!r}: {err.response.text}", "Correct the parameters.") from err


def state(run_id: str) -> RunOutcome:
    """Where a run stands now.

    Raises:
        UnknownNameError: no such run. PlatformError: the API is not reachable.
    """
    from prefect.exceptions import ObjectNotFound

    def read() -> "State[Any] | None":
        with connection() as client:
            try:
                return client.read_flow_run(UUID(run_id)).state
            except ObjectNotFound:
                raise UnknownNameError("flow run", run_id, ()) from None

    found = patiently(read)
    if found is None:
        return RunOutcome("PENDING", "Unknown", "")
    return RunOutcome(found.type.value, found.name or found.type.value.title(), found.message or "")


def state_of(key: str, run: str = "") -> RunState:
    """Of the run under an idempotency key: whether it can still do something, has ended, or was never started.

    Args:
        run: Id of the run that is meant when it took the work on itself: a person or a schedule started it, under no key of ours.

    Raises:
        PlatformError: the API is not reachable.
    """
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterIdempotencyKey

    meant = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run)])) if run else FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
    with connection() as client:
        found = client.read_flow_runs(flow_run_filter=meant)
    if not found:
        return "dead" if run else "unknown"  # it was there, and somebody deleted it
    return "alive" if any(each.state is None or not each.state.is_final() for each in found) else "dead"


def tag(*texts: str) -> None:
    """Add tags to the flow run that this is called in; outside one it does nothing."""
    if not (run_id := current_run()):
        return

    def add() -> None:
        with connection() as client:
            tags = client.read_flow_run(UUID(run_id)).tags
            client.update_flow_run(UUID(run_id), tags=list(dict.fromkeys([*tags, *texts])))

    patiently(add)


def wait(run_id: str, timeout_seconds: float | None = None) -> RunOutcome:
    """Wait until a run has ended, or until the time is up; then the outcome is not final."""
    begun = answered = time.monotonic()
    while True:
        try:
            outcome = state(run_id)
            answered = time.monotonic()
        except PlatformError:
            if time.monotonic() - answered > OUTAGE_SECONDS:
                raise
        else:
            if outcome.final or (timeout_seconds is not None and answered - begun >= timeout_seconds):
                return outcome
        time.sleep(POLL_SECONDS)


def link(run_id: str) -> str:
    """Address of a run in the UI, as people reach it: a pod's own Prefect address is of use to nobody outside the cluster."""
    from prefect.settings import PREFECT_UI_URL

    settings = Settings()
    ui = settings.ui_url if settings.public_url else PREFECT_UI_URL.value() or settings.ui_url
    return f"{ui}/runs/flow-run/{run_id}"
