"""What a bento must install: the part of uv.lock that serving reaches, nothing of training or of Prefect."""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from packaging.markers import Marker

from tasks.errors import PlatformError

SERVING = ("bentoml", "httptools", "numpy", "onnxruntime", "orjson", "prometheus-client", "pydantic", "typing-extensions", "uvicorn", "uvloop")
SKLEARN = ("joblib", "pandas", "scikit-learn")
Key = tuple[str, str]  # name, version


def serving_requirements(lock: Path, kind: Literal["onnx", "sklearn"]) -> list[str]:
    """`name==version` lines, sorted; BentoML adds its own.

    Raises:
        PlatformError: there is no lock, or it does not hold a package that serving needs.
    """
    if not lock.is_file():
        raise PlatformError(
            f"There is no lock at {lock}", "A bento pins what it was tested with: run from a checkout, or keep uv.lock beside the installed package."
        )
    packages = {(package["name"], package["version"]): package for package in tomllib.loads(lock.read_text())["package"] if "version" in package}
    pinned = _closure(packages, SERVING + (SKLEARN if kind == "sklearn" else ()))
    return sorted(f"{name}=={version}" for name, version in pinned if name != "bentoml")


def _closure(packages: dict[Key, dict[str, Any]], roots: Iterable[str]) -> set[Key]:
    """Everything the roots need on this Python and platform."""
    seen: set[tuple[Key, tuple[str, ...]]] = set()
    waiting: list[tuple[Key, tuple[str, ...]]] = [(_find(packages, {"name": name}), ()) for name in roots]
    while waiting:
        key, extras = entry = waiting.pop()
        if entry in seen:
            continue
        seen.add(entry)
        package = packages[key]
        needed = package.get("dependencies", []) + [each for extra in extras for each in package.get("optional-dependencies", {}).get(extra, [])]
        waiting += [(_find(packages, each), tuple(each.get("extra", ()))) for each in needed if _applies(each.get("marker"))]
    return {key for key, _ in seen}


def _find(packages: dict[Key, dict[str, Any]], dependency: dict[str, Any]) -> Key:
    """The locked package that is meant; where the lock forks by Python version, the fork for this one."""
    found = [
        key
        for key, package in packages.items()
        if key[0] == dependency["name"]
        and dependency.get("version", key[1]) == key[1]
        and any(_applies(marker) for marker in package.get("resolution-markers", [None]))
    ]
    if len(found) != 1:
        version = ".".join(map(str, sys.version_info[:2]))
        raise PlatformError(f"uv.lock holds {len(found)} versions of {dependency['name']!r} for Python {version}", "Run `uv lock` and commit the result.")
    return found[0]


def _applies(marker: str | None) -> bool:
    return marker is None or Marker(marker).evaluate()
