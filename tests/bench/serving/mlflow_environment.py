"""MLflow in an environment of its own, made once and kept outside the tree."""

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ["mlflow==3.17.2", "scikit-learn==1.9.1", "pandas==2.3.3", "numpy==2.4.6"]  # the libraries that the pipeline was fitted with
INSTALL_SECONDS = 600


def environment(cache: Path) -> Path | None:
    """Its Python; None when it cannot be installed, which is said."""
    folder = cache / PACKAGES[0].replace("==", "-")
    python, complete = folder / "bin" / "python", folder / ".complete"
    if complete.exists() and complete.read_text() == str(PACKAGES):
        return python
    print(f"installing {', '.join(PACKAGES)} into {folder}", flush=True)
    uv = Path(sys.executable).with_name("uv")
    for command in (["venv", "--clear", "--python", sys.executable, str(folder)], ["pip", "install", "--compile-bytecode", *PACKAGES]):
        why = _failure([str(uv), "--quiet", *command], folder)
        if why:
            print(f"MLflow cannot be installed, so there is no row of it:\n{why}", flush=True)
            return None
    complete.write_text(str(PACKAGES))
    return python


def _failure(command: list[str], folder: Path) -> str:
    """Why a command failed; empty: it did not."""
    try:
        done = subprocess.run(command, env=os.environ | {"VIRTUAL_ENV": str(folder)}, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as err:
        return str(err)
    return done.stderr.strip()[-600:] if done.returncode else ""
