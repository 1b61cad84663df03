"""The program of a serving pod's init container: it fetches the bento of a release from the store, and leaves nothing that the release does not name.

    python -m bentos.runtime.fetch --release FILE --to DIR

The store is RATCHET_STORE_URL (fsspec; for s3:// with the usual AWS_* variables); the bento lies in DIR/bento afterwards.
What is wrong is said in one line on stderr. Exit codes: 0 fetched, 1 the store cannot be reached, 3 another try would end the same:
the bytes are missing or not those of the release, or there is no release.
"""

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from bentos.runtime.digest import DigestError, again, check, key, release_in, unpack
from bentos.runtime.release import Release

UNREACHABLE, TAMPERED = 1, 3
CHUNK = 1 << 20
NOT_THERE = {404, "404", "NoSuchKey"}
# No answers from an old listing; and a sha256 is held against what is read, so botocore's own checksums, which not every S3-compatible server knows, are left out.
S3_OPTIONS = {"use_listings_cache": False, "config_kwargs": {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}}


def fetch(release: Release, store: str, to: Path) -> Path:
    """Fetch and unpack the bento of a release; returns its folder. One that is there already is kept when its bytes are right.

    Args:
        store: fsspec URL of the store.
        to: Folder that exists; the bento appears in it as `bento`, whole or not at all.

    Raises:
        DigestError: the bytes are missing, or are not those that the release names.
        OSError: the store cannot be reached, or the disk is full.
    """
    bento, tar, part = to / "bento", to / "bento.tar", to / "bento.part"
    if bento.exists():
        try:
            check(release, bento)
            return bento
        except DigestError:
            shutil.rmtree(bento)
    shutil.rmtree(part, ignore_errors=True)
    with tar.open("w+b") as file:
        found = download(store, release.bento, file)
        if found != release.bento.removeprefix("sha256:").partition(".")[0]:
            raise DigestError(
                f"Release {release.id!r}: the store's bytes of {release.bento[:19]}… have digest sha256:{found[:12]}…. Nothing was unpacked. {again(release)}"
            )
        file.seek(0)
        unpack(file, part)
    tar.unlink()
    check(release, part)
    return part.rename(bento)


def download(store: str, reference: str, to: BinaryIO) -> str:
    """Copy an object of the store into a file; returns the sha256 of its bytes.

    Raises:
        DigestError: the store has no such object.
    """
    options: dict[str, Any] = S3_OPTIONS if store.startswith("s3://") else {}
    fs, base = fsspec.core.url_to_fs(store, **options)
    digest = hashlib.sha256()
    try:
        with fs.open(f"{base}/{key(reference)}", "rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                to.write(chunk)
    except FileNotFoundError as err:
        if not missing(err):
            raise OSError(f"{type(err.__cause__).__name__}: {err.__cause__}") from err
        raise DigestError(f"The store {store} does not hold {reference[:19]}…. Restore it from a backup, or release another version.") from None
    return digest.hexdigest()


def missing(err: Exception) -> bool:
    """Whether a store itself said that it has no such object.

    fsspec raises FileNotFoundError also for an HTTP server that does not answer, and s3fs for a bucket that is not there.
    """
    cause = err.__cause__
    response = getattr(cause, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else getattr(cause, "status", None)
    return isinstance(err, FileNotFoundError) and (cause is None or code in NOT_THERE)


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="bentos.runtime.fetch", description="Fetches the bento of a release and checks its bytes.")
    parser.add_argument("--release", type=Path, required=True, help="file with the release object")
    parser.add_argument("--to", type=Path, required=True, help="folder in which the bento appears")
    options = parser.parse_args(arguments)
    store = os.environ.get("RATCHET_STORE_URL", "")
    try:
        release = release_in(options.release)
    except ValueError as err:
        print(err, file=sys.stderr)
        return TAMPERED
    try:
        if not store:
            raise OSError("RATCHET_STORE_URL is not set")
        fetch(release, store, options.to)
    except DigestError as err:
        print(err, file=sys.stderr)
        return TAMPERED
    except Exception as err:  # noqa: BLE001  # every file system of fsspec has errors of its own: whatever it is, the pod's status must say it in one line
        print(f"The store {store} cannot be read: {type(err).__name__}: {err}", file=sys.stderr)
        return UNREACHABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
