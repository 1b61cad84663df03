"""The store: bytes under an fsspec URL, named by their sha256. What is put once never changes; what is read is checked."""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from uuid import uuid4

import fsspec
from pydantic import BaseModel, ConfigDict, Field

from bentos.runtime.digest import key, pack, unpack
from bentos.runtime.fetch import S3_OPTIONS, missing
from tasks.errors import RatchetError, StoreError
from tasks.settings import Settings

OBJECT_STORES = {"s3", "gs", "abfs", "memory"}


class Ref(BaseModel):
    """Names an object of the store: a sha256 digest in hex and the suffix of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    suffix: str = Field("", pattern=r"^(\.[a-z0-9.]+)?$")

    @property
    def key(self) -> str:
        """Path inside the store."""
        return key(str(self))

    def __str__(self) -> str:
        return f"sha256:{self.digest}{self.suffix}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str(ref)` wrote."""
        digest, dot, suffix = text.removeprefix("sha256:").partition(".")
        return cls(digest=digest, suffix=dot + suffix)


class StoreAwayError(StoreError):
    """The place itself cannot be used: nobody answers, the keys are wrong, there is no such bucket, a disk is full."""

    def __init__(self, url: str, found: str) -> None:
        RatchetError.__init__(
            self,
            f"The store at {url} cannot be used: {found}. Nothing was lost; see that it runs and that its URL and, "
            "for S3, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right, then try again.",
        )


class Files:
    """Files under an fsspec URL, which threads may share. S3 takes its address and keys from `AWS_*`.

    Raises:
        StoreAwayError: from every method, the place cannot be used.
    """

    def __init__(self, url: str) -> None:
        s3 = url.startswith("s3:")
        self.fs, self.base = fsspec.core.url_to_fs(url, **(S3_OPTIONS if s3 else {}))
        self.url = re.sub(r"//[^/@]*@", "//", url) + (f" on {os.environ['AWS_ENDPOINT_URL']}" if s3 and "AWS_ENDPOINT_URL" in os.environ else "")

    def has(self, name: str) -> bool:
        """True when there is such a file."""
        with self._asked():
            return bool(self.fs.exists(f"{self.base}/{name}"))

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with self._asked():
            return bytes(self.fs.cat_file(f"{self.base}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file that appears whole or not at all. An object store's put is that already; a move there would be a copy and a delete."""
        path = f"{self.base}/{name}"
        with self._asked():
            if OBJECT_STORES.intersection([self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol):
                self.fs.pipe_file(path, data)
                return
            part = f"{path}.{uuid4().hex}.part"
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(part, data)
            self.fs.mv(part, path)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except Exception as err:  # each kind of store raises what its client library raises
            if missing(err):
                raise
            raise StoreAwayError(self.url, f"{type(err).__name__}: {err}".rstrip(". ")) from err


class Store:
    """Content-addressed bytes. Safe for many writers: equal bytes have one name, and an object appears whole or not at all."""

    def __init__(self, url: str) -> None:
        self.files = Files(url)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store of an installation."""
        return cls(settings.store)

    def put(self, data: bytes, suffix: str = "") -> Ref:
        """Keep `data` and return its name; putting the same bytes again writes nothing.

        Raises:
            StoreAwayError: the store did not take them.
        """
        ref = Ref(digest=hashlib.sha256(data).hexdigest(), suffix=suffix)
        if not self.files.has(ref.key):
            self.files.write(ref.key, data)
        return ref

    def get(self, ref: Ref) -> bytes:
        """The bytes of `ref`.

        Raises:
            StoreError: they are missing, or are not the bytes that were put. StoreAwayError: the store could not be asked.
        """
        try:
            data = self.files.read(ref.key)
        except FileNotFoundError:
            raise StoreError(str(ref), f"missing in {self.files.url}") from None
        found = hashlib.sha256(data).hexdigest()
        if found != ref.digest:
            raise StoreError(str(ref), f"its bytes have sha256 {found[:12]}…, so they were changed")
        return data

    def put_tree(self, folder: Path) -> Ref:
        """Keep a folder as one tar whose bytes depend on names and contents only."""
        buffer = io.BytesIO()
        pack(folder, buffer)
        return self.put(buffer.getvalue(), ".tar")

    def get_tree(self, ref: Ref, folder: Path) -> Path:
        """Unpack a kept folder into `folder` unless it is there already; it appears whole or not at all."""
        if not folder.exists():
            part = folder.with_name(f".{folder.name}.{uuid4().hex}")
            unpack(io.BytesIO(self.get(ref)), part)
            try:
                part.rename(folder)
            except OSError:  # somebody else unpacked the same bytes meanwhile
                if not folder.exists():
                    raise
        return folder
