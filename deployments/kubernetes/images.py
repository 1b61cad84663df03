"""The four images of the platform: each is built from a folder put together for it, and named by what lies in that folder.

A tag is a digest of that folder, so an image that was built from the same files is never built again, and a tag always means the same files.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bentos.runtime.digest import digest_of
from deployments.kubernetes.builders import Builder, Built, builder
from tasks.errors import PlatformError, UnknownNameError
from tasks.ledger.provenance import as_text, commit_of

ROOT = Path(__file__).parents[2]
DOCKERFILES = ROOT / "deployments" / "images"
NAMES = ("flow", "serving", "postgres", "s3")
DRILL = "mute"  # the serving image, broken on purpose
LOCK = ("pyproject.toml", "uv.lock", ".python-version")
CODE = ("bentos", "deployments", "expectations", "flows", "tasks")
S3_SERVER = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"  # Apache-2.0


def build(name: str, chosen: Builder | None = None) -> str:
    """Build an image unless it is there already, have it where pods find it, and say so in a line.

    Args:
        name: One of NAMES, or "mute".
        chosen: Who builds; None: whom the environment names (see `builders.builder`).

    Returns:
        The reference by which a pod names the image: by content tag, or by digest where a registry gave one.

    Raises:
        PlatformError: it cannot be built; the builder's own output says why.
    """
    chosen = chosen or builder()
    began = time.monotonic()
    arguments = {}
    if name == DRILL:
        arguments["BASE_IMAGE"] = build("serving", chosen)
    with TemporaryDirectory(prefix="ratchet-image-") as place:
        folder = Path(place) / "context"
        stage(name, folder)
        tag = _tag(folder, arguments.get("BASE_IMAGE", ""))
        if name == "flow" and (commit := commit_of(ROOT)):
            arguments["RATCHET_COMMIT"] = as_text(commit)
        built = chosen(f"ratchet-{name}", tag, folder, arguments)
    print(_told(built, time.monotonic() - began), file=sys.stderr, flush=True)
    return built.reference


def stage(name: str, folder: Path) -> None:
    """Put into a new folder what an image is built from, and nothing else.

    Raises:
        UnknownNameError: there is no such image. PlatformError: the S3 server cannot be built.
    """
    if name not in (*NAMES, DRILL):
        raise UnknownNameError("image", name, (*NAMES, DRILL))
    shutil.copytree(DOCKERFILES / name, folder, ignore=_ignored)
    if name in {"flow", "serving"}:
        for file in LOCK:
            shutil.copy2(ROOT / file, folder)
    if name == "flow":
        for package in CODE:
            shutil.copytree(ROOT / package, folder / "app" / package, ignore=_ignored)
        shutil.copy2(ROOT / "uv.lock", folder / "app")  # versions record its digest, bentos pin from it
    if name == "serving":
        shutil.copytree(ROOT / "bentos" / "runtime", folder / "app" / "bentos" / "runtime", ignore=_ignored)
        shutil.copy2(ROOT / "bentos" / "__init__.py", folder / "app" / "bentos")
    if name == "s3":
        shutil.copy2(_s3_server(), folder / "versitygw")


def _ignored(folder: str, names: list[str]) -> set[str]:
    """No caches, nothing hidden; and manifests and Dockerfiles do not run in a pod: an image need not change with them."""
    ours = {"base", "images", "overlays"} if Path(folder).resolve() in {ROOT / "deployments", ROOT / "deployments" / "kubernetes"} else set()
    return {name for name in names if name in ours or name == "__pycache__" or name.startswith(".") or name.endswith(".pyc")}


def _tag(folder: Path, base: str = "") -> str:
    """The first 12 hex digits of the digest of what an image is built from, whatever the files' time or owner."""
    if base:
        (folder / "base").write_text(base)  # another base makes another image
    return digest_of(folder).removeprefix("sha256:")[:12]


def _s3_server() -> Path:
    """The program, from its Go module; kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ratchet" / S3_SERVER.rpartition("@")[2]
    if not (cache / "versitygw").exists():
        env = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(cache), "GOFLAGS": "-trimpath"}
        try:
            subprocess.run(["go", "install", "-ldflags=-s -w", S3_SERVER], env=env, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as err:
            raise PlatformError(f"The S3 server {S3_SERVER} cannot be built: {err}", "Install Go 1.24 or newer; its own output is above.") from err
    return cache / "versitygw"


def _told(built: Built, seconds: float) -> str:
    size = f"{built.size / 1e6:.0f} MB" if built.size else "size unknown"
    return f"{built.reference}  {'built' if built.fresh else 'was there'} in {seconds:.1f} s  {size}"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or NAMES:
        print(build(wanted))
