"""The local target: releases served on this machine by the supervisor."""

import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from bentos.runtime.release import Release
from bentos.runtime.sockets import short_path
from tasks.errors import PlatformError, ReleaseError
from tasks.release.desired import Apply, Desired, Remove, Reply, Status
from tasks.release.fetched import fetch, locked
from tasks.release.target import ServingStatus
from tasks.settings import Settings
from tasks.store import Store

POLL_SECONDS = 0.05
REPLY_SECONDS = 60.0  # a model is removed when what is under way has been answered


class LocalTarget:
    """See `Target`. A model's first release takes the port that `ports` names, else the first free one from Settings.endpoint_port on; it keeps it."""

    def __init__(self, settings: Settings, ports: Mapping[str, int] | None = None) -> None:
        self.settings, self.ports = settings, dict(ports or {})

    def apply(self, release: Release, store: Store) -> None:
        """See `Target`. The bento is fetched from the store unless its bytes are here already."""
        folder = self.settings.serving / "bentos"
        try:
            with locked(folder):
                bento = fetch(release, store, folder)
                problem = ask(self.settings, Apply(release=release, bento=bento, port=self.ports.get(release.model, 0))).error
        except PlatformError as err:
            raise ReleaseError(release.model, release.version, str(err).rstrip(".")) from err
        if problem:
            raise ReleaseError(release.model, release.version, problem.rstrip("."))

    def wait_ready(self, release: Release, timeout_seconds: float) -> None:
        """See `Target`. A supervisor that is away is waited for: it serves what answered before when it is back."""
        until = time.monotonic() + timeout_seconds
        last = "it is still being tried"
        while time.monotonic() < until:
            try:
                found = ask(self.settings, Status()).models.get(release.model)
            except PlatformError as err:
                last = str(err).rstrip(".")
            else:
                if problem := _problem(release, found):
                    raise ReleaseError(release.model, release.version, problem.rstrip("."))
                if found and found.release == release.id and found.state == "live":
                    return
                last = found.error if found and found.error else "it is still being tried"
            time.sleep(POLL_SECONDS)
        raise ReleaseError(release.model, release.version, f"release {release.id!r} did not answer within {timeout_seconds:g} s: {last}")

    def status(self) -> dict[str, ServingStatus]:
        """See `Target`. Without a supervisor every model is down."""
        try:
            return ask(self.settings, Status()).models
        except PlatformError as err:
            desired = Desired.load(self.settings.serving / "desired.json")
            now = datetime.now(UTC)
            return {
                model: ServingStatus(model=model, version=w.release.version, release=w.release.id, state="down", port=w.port, since=now, error=str(err))
                for model, w in desired.models.items()
            }

    def addresses(self) -> dict[str, str]:
        """See `Target`."""
        return {model: f"http://{self.settings.host}:{status.port}" for model, status in self.status().items() if status.port}

    def remove(self, model: str) -> None:
        """See `Target`."""
        reply = ask(self.settings, Remove(model=model))
        if reply.error:
            raise PlatformError(reply.error, "Look into the supervisor's log.")


def _problem(release: Release, found: ServingStatus | None) -> str:
    """Why waiting for a release is in vain; empty when it is not."""
    if found is None:
        return "its model was removed meanwhile, or the supervisor started anew"
    if found.tried == release.id:
        return found.refused
    if found.release == release.id:
        return ""
    return f"release {found.tried!r} was asked for instead" if found.tried else "the supervisor started anew meanwhile"


def ask(settings: Settings, command: Apply | Status | Remove) -> Reply:
    """Tell the supervisor something and return what it says.

    Raises:
        PlatformError: there is none.
    """
    path = settings.serving / "supervisor.sock"
    try:
        with short_path(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(REPLY_SECONDS)
            connection.connect(name)
            connection.sendall(command.model_dump_json().encode() + b"\n")
            with connection.makefile("rb") as answers:
                return Reply.model_validate_json(answers.readline())
    except (OSError, ValueError) as err:
        raise PlatformError(f"No supervisor answers at {path}: {err}", "Start the platform: ratchet up.") from err
