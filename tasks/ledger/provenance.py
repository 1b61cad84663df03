"""Which revision and which lock a row was written by."""

import hashlib
import os
import subprocess
from functools import lru_cache
from pathlib import Path

from tasks.ledger.rows import Commit

CHANGED = "-dirty"  # git's own word for a revision with changes that are not committed


@lru_cache
def commit_of(project: Path) -> Commit | None:
    """The revision of a checkout, or None outside one. An image or a Job says it in `RATCHET_COMMIT` (sha|time|author)."""
    if told := os.environ.get("RATCHET_COMMIT"):
        sha, time, author = told.split("|", 2)
        return Commit(sha=sha.removesuffix(CHANGED), time=time, author=author, clean=not sha.endswith(CHANGED))
    try:
        head = _git(project, "log", "-1", "--format=%H|%cI|%an")
        dirty = _git(project, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    sha, time, author = head.split("|", 2)
    return Commit(sha=sha, time=time, author=author, clean=not dirty)


def as_text(commit: Commit) -> str:
    """A revision as `RATCHET_COMMIT` names it."""
    return f"{commit.sha}{'' if commit.clean else CHANGED}|{commit.time}|{commit.author}"


@lru_cache
def lock_digest(project: Path) -> str:
    """sha256 of uv.lock, or the empty string where there is none."""
    lock = Path(__file__).parents[2] / "uv.lock"
    lock = lock if lock.exists() else project / "uv.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else ""


def _git(project: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(project), *args], capture_output=True, text=True, check=True).stdout.strip()
