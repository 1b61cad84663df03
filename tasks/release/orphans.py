"""What a supervisor that was killed left behind."""

import logging
import os
import shutil
import signal
import time
from pathlib import Path

ORPHAN_SECONDS = 2.0  # for orphans to end by themselves
log = logging.getLogger(__name__)


def end_orphans(run: Path) -> None:
    """End the processes of an earlier supervisor, and delete their folders. They end by themselves; those that hang are killed."""
    for folder in sorted(run.glob("*/")):
        pid = _pid_of(folder)
        until = time.monotonic() + ORPHAN_SECONDS
        while pid and _is_host(pid, folder):
            if time.monotonic() > until:
                log.warning("orphan %d of %s is killed", pid, folder.name)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        shutil.rmtree(folder, ignore_errors=True)


def _pid_of(folder: Path) -> int:
    try:
        return int((folder / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _is_host(pid: int, folder: Path) -> bool:
    """True while the process is the one that was started for this folder; the pid may be another's by now."""
    try:
        return os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
