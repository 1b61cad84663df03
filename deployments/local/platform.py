"""`ratchet up` and `ratchet down`: everything on this machine is started in order, watched, and ended in order."""

import os
import signal
import sys
import time

import httpx

from deployments.local import checks, programs, runs
from deployments.local.processes import Child, Program, end_marked
from deployments.local.signals import Asked, parent_stops
from deployments.register import register, wanted
from tasks.errors import PlatformError
from tasks.prefect_api import patiently
from tasks.project import Project
from tasks.settings import Settings

SERVER_SECONDS = 120.0  # the first start migrates an empty database: 10 s on two cores, and a slow disk may take longer
BURY_SECONDS = 2.0  # between two tries to reach a server that died together with the worker
CANCEL_SECONDS = 6.0  # a run that is cancelled ends within 4.5 s
SLICE_SECONDS = 0.1
STOPPED = "`ratchet up` was stopped while this run was going; whatever it was deciding is taken up again at the next start."
DIED = "The process of this run is gone: `ratchet up` or its worker died. Whatever it was deciding is taken up again."


class Stopping(BaseException):
    """A signal asks to stop; raised only where a wait looks for it, so that nothing is left half started."""


class Platform:
    """What runs, and whether it should."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.children: dict[str, Child] = {}
        self.begun = time.monotonic()
        self.asked = Asked()

    def say(self, text: str) -> None:
        """One plain line with the seconds since the start."""
        try:
            print(f"{time.monotonic() - self.begun:7.1f} s  {text}", flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone (`| head`); the platform stays up

    def pause(self, seconds: float) -> None:
        """Wait while looking after the programs; raises Stopping when a signal has come."""
        until = time.monotonic() + seconds
        while True:
            if self.asked.signal or parent_stops():
                raise Stopping
            for child in list(self.children.values()):
                self._look_after(child)
            if time.monotonic() >= until:
                return
            time.sleep(SLICE_SECONDS)

    def launch(self, program: Program) -> Child:
        """Start a program and look after it from now on."""
        child = self.children[program.name] = Child(program)
        return child

    def start(self) -> None:
        """Start everything and return when runs can be started."""
        settings = self.settings
        settings.reports.mkdir(parents=True, exist_ok=True)
        server = self.launch(programs.server(settings))
        self.launch(programs.supervisor(settings))
        self.launch(programs.reports(settings))
        self.say("waiting for the Prefect server" + ("" if (settings.root / "prefect" / "prefect.db").exists() else " (the first start prepares its database)"))
        import prefect.workers.process  # noqa: F401  # takes a second, which passes while the server starts

        self._until_ready(server)
        self.say(f"the Prefect UI is up at {settings.ui_url}")
        patiently(lambda: runs.ensure_pool(settings.work_pool, programs.run_command(), settings.project.resolve()))
        if dead := runs.crash_stale(DIED):
            self.say(f"{dead} runs of an earlier start were still called running, now Crashed")
        runs.drop_missed()
        names = patiently(lambda: register(settings))
        self.say(f"{len(names)} deployments are registered")
        self.pause(0)
        self.launch(programs.worker(settings))
        self.say(f"one worker polls the work pool {settings.work_pool!r}")

    def stop(self) -> None:
        """Cancel what runs, then end every program, the server last. No process and no run that claims to be running is left."""
        self._stop_runs()
        for name in ("supervisor", "reports", "prefect-server"):
            if child := self.children.get(name):
                self.say(f"stopping {name}")
                child.stop()
        end_marked(self.settings.root)
        self.say("everything is stopped")

    def _stop_runs(self) -> None:
        server, worker = self.children.get("prefect-server"), self.children.get("worker")
        reachable = bool(worker and server and server.alive)
        try:
            if reachable and (cancelled := runs.cancel_all(CANCEL_SECONDS)):
                self.say(f"{cancelled} runs are cancelled")
            if worker:
                self.say("stopping worker")
                worker.stop()
            if reachable:
                runs.cancel_left(STOPPED)
        except PlatformError as err:
            self.say(f"runs could not be cancelled, the next start calls them crashed: {err}")
            if worker:
                worker.stop()

    def _until_ready(self, server: Child) -> None:
        until = time.monotonic() + SERVER_SECONDS
        while not answers(f"{self.settings.api_url}/ready"):
            if server.again_at is not None:
                raise PlatformError("The Prefect server ended while it started", f"Its log says why: {server.program.log}")
            if time.monotonic() > until:
                raise PlatformError(f"The Prefect server did not answer within {SERVER_SECONDS:.0f} s", f"See its log: {server.program.log}")
            self.pause(SLICE_SECONDS)

    def _look_after(self, child: Child) -> None:
        if told := child.notice(time.monotonic()):
            self.say(told)
        if child.again_at is None or time.monotonic() < child.again_at:
            return
        if child.program.name == "worker" and not self._bury():
            child.again_at = time.monotonic() + BURY_SECONDS
            return
        child.start()
        self.say(f"{child.program.name} is started again")

    def _bury(self) -> bool:
        """A worker takes its runs with it, and nobody else would say that they ended; a new one must not start before."""
        try:
            if dead := runs.crash_stale(DIED):
                self.say(f"{dead} runs died with the worker, now Crashed")
        except PlatformError:
            return False
        return True


def up(settings: Settings) -> int:
    """Bring everything up, stay until a signal comes, and leave nothing behind.

    Raises:
        PlatformError: the machine is not as needed. SpecError: a folder of the project is broken.
    """
    checks.python_version()
    checks.disk(settings.root)
    with checks.only_one(settings.root):
        platform = Platform(settings)
        with platform.asked.listening():
            if left := end_marked(settings.root):
                platform.say(f"{len(left)} processes of an earlier start were left, now ended")
            project = Project.of(settings)
            checks.ports(settings, len(project.models()))
            list(wanted(project, settings))  # a broken folder is told now, not after the server's start
            # Before Prefect is imported. While we stop, a server that does not answer must not be asked for two minutes.
            os.environ |= programs.prefect_facts(settings) | {"PREFECT_CLIENT_MAX_RETRIES": "1"}
            return _run(platform)


def _run(platform: Platform) -> int:
    from deployments.local.bootstrap import bootstrap

    try:
        platform.start()
        bootstrap(platform)
        while True:
            platform.pause(3600)
    except Stopping:
        platform.say(f"stopping ({platform.asked.signal or 'our parent stops'})")
        return 0
    finally:
        platform.stop()


def down(settings: Settings, patience_seconds: float = 90) -> bool:
    """End a running `ratchet up` and wait for it; False when there was none. What a killed one left is ended as well.

    Raises:
        PlatformError: it does not end.
    """
    root = settings.root
    if (pid := checks.holder(root)) is None:
        return bool(end_marked(root))
    handle = os.pidfd_open(pid)
    try:
        if checks.holder(root) == pid:  # still the same after the handle was taken: it cannot hit another process
            signal.pidfd_send_signal(handle, signal.SIGTERM)
    finally:
        os.close(handle)
    until = time.monotonic() + patience_seconds
    while checks.holder(root) is not None:
        if time.monotonic() > until:
            raise PlatformError(
                f"`ratchet up` (process {pid}) did not end within {patience_seconds:.0f} s", "Kill it; the next `ratchet up` ends what it leaves."
            )
        time.sleep(SLICE_SECONDS)
    return True


def answers(url: str) -> bool:
    """True when a GET of the address succeeds."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
