"""The digest of a folder, and the check that the bytes a server is given are those its release names."""

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import ValidationError

from bentos.runtime.release import Release

COMPILED = "It holds __pycache__, which Python writes where it imports: delete it, and set PYTHONDONTWRITEBYTECODE=1 for other programs that load it."


class DigestError(Exception):
    """Bytes are not those that were named; nothing is loaded from them."""


def pack(folder: Path, file: BinaryIO, without: str = "") -> None:
    """Write a folder as one tar whose bytes depend on the names and contents of its files only; `without` names one to leave out."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size, info.mode = path.stat().st_size, 0o644
            if info.name != without:
                with path.open("rb") as content:
                    tar.addfile(info, content)


def unpack(file: BinaryIO, folder: Path) -> None:
    """Write the files of a tar that `pack` made into a folder; by hand, because Python before 3.11.4 has no extraction filters.

    Raises:
        DigestError: it holds something that `pack` never writes: a link, a device, a path that leads out.
    """
    inside = folder.resolve()
    with tarfile.open(fileobj=file) as tar:
        for member in tar:
            path, content = folder / member.name, tar.extractfile(member) if member.isreg() else None
            if content is None or not path.resolve().is_relative_to(inside):
                raise DigestError(f"The tar for {folder} holds {member.name!r}, which is no plain file inside a bento.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(content, out)


def key(reference: str) -> str:
    """Path of an object inside the store: `sha256/ab/ab…<suffix>` for `sha256:ab…<suffix>`."""
    name = reference.removeprefix("sha256:")
    return f"sha256/{name[:2]}/{name}"


class _Hash:
    """A file that keeps only the digest of what is written to it."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


def digest_of(folder: Path, without: str = "") -> str:
    """Reference that the store gives to this folder: `sha256:<hex>.tar`. A file too many changes it as much as a changed byte."""
    file = _Hash()
    pack(folder, cast("BinaryIO", file), without)
    return f"sha256:{file.sha256.hexdigest()}.tar"


def artefact_in(bento: Path) -> Path:
    """The folder with the model's files in an exported bento.

    Raises:
        DigestError: there is not exactly one.
    """
    found = sorted(bento.glob("models/*/*/card.json"))
    if len(found) != 1:
        raise DigestError(f"The bento at {bento} holds {len(found)} models with a card.json; a release has one.")
    return found[0].parent


def release_in(file: Path) -> Release:
    """The release that a file holds.

    Raises:
        ValueError: it cannot be read, or holds none.
    """
    try:
        return Release.model_validate_json(file.read_bytes())
    except OSError as err:
        raise ValueError(f"The release file {file} cannot be read: {err.strerror}. Name one with --release.") from None
    except ValidationError as err:
        found = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in err.errors(include_input=False, include_url=False))
        raise ValueError(f"The release file {file} holds no release ({found}). Release the version again.") from None


def again(release: Release) -> str:
    """How bytes that are not those of a release are mended."""
    return f"Release the version again, so that its bytes are fetched from the store: ratchet release {release.model} {release.version}"


def check(release: Release, bento: Path) -> None:
    """Compare a bento and the model inside with the release that names them.

    Raises:
        DigestError: they differ, or are not there.
    """
    if not bento.is_dir():
        raise DigestError(f"Release {release.id!r}: its bento is missing at {bento}. {again(release)}")
    for what, named, found in (
        ("bento", release.bento, digest_of(bento)),
        ("model", release.artefact, digest_of(artefact_in(bento), without="model.yaml")),  # BentoML's own note beside the model's files
    ):
        if found != named:
            remedy = COMPILED if next(bento.rglob("__pycache__"), None) else again(release)
            raise DigestError(
                f"Release {release.id!r}: the {what} at {bento} has digest {found[:19]}…, but the release names {named[:19]}…. Nothing was loaded from it. {remedy}"
            )
