"""Who builds an image and puts it where pods find it: the test cluster beside the checkout, or docker and a registry."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.request import urlopen

from tasks.errors import PlatformError

CLUSTER = "RATCHET_CLUSTER"  # folder with the test cluster's commands
REGISTRY = "RATCHET_REGISTRY"  # where images are pushed to, such as registry.example.com/team
OUTPUT_LINES = 25
UP_TRIES = 3


@dataclass(frozen=True)
class Built:
    """An image where pods find it; `size` in bytes, 0 when it is not known."""

    reference: str
    size: int
    fresh: bool


class Builder(Protocol):
    """Builds an image from a folder with a Dockerfile."""

    def __call__(self, name: str, tag: str, folder: Path, arguments: Mapping[str, str]) -> Built:
        """Build `name:tag` unless it is there; raises PlatformError when that fails."""
        ...


@dataclass(frozen=True)
class ClusterBuilder:
    """The test cluster's own commands: no daemon and no registry; images go straight to the node.

    Args:
        folder: Where `up`, `build-image` and `load-image` are.
        state: Folder of the running cluster: its kubeconfig lies there.
    """

    folder: Path
    state: Path

    def __call__(self, name: str, tag: str, folder: Path, arguments: Mapping[str, str]) -> Built:
        """See `Builder`. The image is also called `:local`, the name in the overlay."""
        reference = f"local/{name}:{tag}"
        fresh = not self.ctr("images", "ls", "-q", f"name==docker.io/{reference}")
        if fresh:
            options = {"BASE_IMAGE": self.base(), **arguments}
            given = [word for key, value in options.items() for word in ("--build-arg", f"{key}={value}")]
            tar = run([str(self.folder / "build-image"), reference, *given, str(folder)]).splitlines()[-1]
            Path(tar).unlink(missing_ok=True)  # more than 1 GB; the image is loaded, and the build's layers are kept
        self.ctr("images", "tag", "--force", f"docker.io/{reference}", f"docker.io/local/{name}:local")
        return Built(reference, self._size(reference), fresh)

    def base(self) -> str:
        """The base image, made when it is missing."""
        run([str(self.folder / "base-image")])
        return "local/python:3.11"

    def ctr(self, *words: str) -> str:
        """What the node's containerd says; it alone knows which images are loaded."""
        return run(["ctr", "--address", str(self.state / "run" / "containerd.sock"), "--namespace", "k8s.io", *words])

    def _size(self, reference: str) -> int:
        """Bytes of the unpacked layers, from the line that names the image."""
        for line in self.ctr("images", "ls", f"name==docker.io/{reference}").splitlines()[1:]:
            words = line.split()
            return int(float(words[3]) * {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}.get(words[4], 1))
        return 0


@dataclass(frozen=True)
class RegistryBuilder:
    """docker and a registry. Nothing of the project's tests can reach one, so this way is short and has not been tried."""

    registry: str

    def __call__(self, name: str, tag: str, folder: Path, arguments: Mapping[str, str]) -> Built:
        """See `Builder`. Always builds: docker's own cache knows what is new. The base is the Dockerfile's own."""
        reference = f"{self.registry.rstrip('/')}/{name}:{tag}"
        given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        run(["docker", "build", "--tag", reference, *given, str(folder)])
        run(["docker", "push", reference])
        digest = run(["docker", "inspect", "--format", "{{index .RepoDigests 0}}", reference])
        return Built(digest, int(run(["docker", "inspect", "--format", "{{.Size}}", reference])), fresh=True)


def builder() -> Builder:
    """The builder that the environment names: RATCHET_CLUSTER or RATCHET_REGISTRY.

    Raises:
        PlatformError: neither is there.
    """
    if cluster := cluster_folder():
        return ClusterBuilder(cluster, kubeconfig(cluster).parent)
    if (registry := os.environ.get(REGISTRY)) and shutil.which("docker"):
        return RegistryBuilder(registry)
    raise PlatformError("Nobody is here to build images", f"Set {CLUSTER} to the test cluster's folder, or {REGISTRY} to a registry, with docker on PATH.")


def cluster_folder() -> Path | None:
    """Folder of the test cluster: RATCHET_CLUSTER, else the one beside the checkout; None where there is none."""
    root = Path(__file__).parents[2]
    folder = (root / os.environ.get(CLUSTER, "../shared/cluster")).resolve()
    return folder if (folder / "build-image").exists() else None


def kubeconfig(folder: Path) -> Path:
    """The kubeconfig of the test cluster, which is brought up when a part of it does not answer.

    Its `up` is not called without need: it writes kube-proxy's configuration again, on which kube-proxy ends and must be started once more.

    Raises:
        PlatformError: it does not come up.
    """
    found = Path(os.environ.get("CLUSTER_STATE", "/var/tmp/test-cluster")) / "kubeconfig"  # noqa: S108  # the cluster's own default
    for _ in range(UP_TRIES):
        if found.exists() and _answers():
            return found
        with suppress(PlatformError):
            found = Path(run([str(folder / "up")]).splitlines()[-1])
        time.sleep(1)
    return Path(run([str(folder / "up")]).splitlines()[-1])


def _answers() -> bool:
    """True when kube-proxy does; it cannot without the API server."""
    try:
        urlopen("http://127.0.0.1:10256/healthz", timeout=2).close()
    except OSError:
        return False
    return True


def run(command: list[str], given: str = "", **env: str) -> str:
    """What a program printed.

    Raises:
        PlatformError: it failed; the end of what it said is in the message.
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env={**os.environ, **env})
    except OSError as err:
        raise PlatformError(f"{command[0]} cannot be run: {err}", "Install it, or mend PATH.") from err
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).splitlines()[-OUTPUT_LINES:])
        raise PlatformError(f"`{' '.join(command)}` ended with {done.returncode}:\n{told}\n", "Its own words above say why.")
    return done.stdout.strip()
