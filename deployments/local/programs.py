"""What runs on one machine: the Prefect server, the report server, the serving supervisor and one worker, each with its environment."""

import os
import shlex
import signal

from pydantic import SecretStr

from deployments.local.processes import MARK, Program, python, tied_to_parent
from tasks.settings import Settings

WORKER = "ratchet-local"  # a fixed name: two workers on one pool would share out the runs

SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # A schedule of a few seconds needs no hundred runs planned ahead, all of them late after a night's sleep.
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "20",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "0:02:00",
    # A run a minute is half a million a year; what counts is in the ledger.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 24 * 3600),
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # a writer that waits for SQLite waits; at the default of 10 s the API answers 503
}
WORKER_FACTS = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",  # a run is given to the worker when it is due, not 10 s before
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
TOOLS = {
    "DO_NOT_TRACK": "1",  # Prefect, Evidently
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "False",
    "PYTHONUNBUFFERED": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "6",  # with its back-off 126 s: a server that died is back long before
}


def environment(settings: Settings) -> dict[str, str]:
    """What every program of this installation is told, on top of our own environment: settings in full, Prefect's addresses, no telemetry."""
    facts = settings.model_dump() | {"project": settings.project.resolve(), "home": settings.root}
    told = {f"RATCHET_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in facts.items()}
    return {
        **os.environ,
        # Sums must not depend on the number of threads (the same model means the same digest), so one unless told otherwise.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        **TOOLS,
        **told,
        **prefect_facts(settings),
        "BENTOML_HOME": str(settings.root / "bentoml"),
        MARK: str(settings.root),
    }


def prefect_facts(settings: Settings) -> dict[str, str]:
    """Where a process finds the Prefect of this installation; its own home keeps a user's profiles out of it."""
    return {
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_API_URL": settings.api_url,
        "PREFECT_UI_URL": settings.ui_url,
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.ui_port),
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_COLORS": "false",
    }


def server(settings: Settings) -> Program:
    """The Prefect server with its UI, on SQLite."""
    return _program(settings, "prefect-server", python("-m", "prefect", "server", "start"), SERVER, 6)


def reports(settings: Settings) -> Program:
    """A file server for the long reports."""
    command = python("-m", "http.server", "--bind", settings.host, "--directory", str(settings.reports), str(settings.reports_port))
    return _program(settings, "reports", command, {}, 2)


def supervisor(settings: Settings) -> Program:
    """The serving supervisor; SIGTERM drains its endpoints."""
    return _program(settings, "supervisor", python("-m", "tasks.release.supervisor"), {}, settings.drain_seconds + 7)


def worker(settings: Settings) -> Program:
    """The one worker of the work pool."""
    command = python("-m", "prefect", "worker", "start", "--pool", settings.work_pool, "--type", "process", "--name", WORKER, "--install-policy", "never")
    return _program(settings, "worker", command, WORKER_FACTS, 8)


def run_command() -> str:
    """The command of one flow run.

    Naming it skips Prefect's workspace supervisor, which imports Prefect once more for every run; and a run must not outlive
    a worker that was killed, because nobody would record how it ended.
    """
    return shlex.join((*tied_to_parent(signal.SIGKILL), *python("-m", "prefect.engine")))


def _program(settings: Settings, name: str, command: tuple[str, ...], facts: dict[str, str], stop_seconds: float) -> Program:
    return Program(name, command, environment(settings) | facts, settings.project.resolve(), settings.root / "programs" / f"{name}.log", stop_seconds)
