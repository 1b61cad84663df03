"""The store: bytes under an fsspec URL, named by their sha256. What is put once never changes; what is read is checked."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Self
from uuid import uuid4

import fsspec
from pydantic import BaseModel, ConfigDict, Field

from bentos.runtime.digest import pack
from tasks.errors import StoreError
from tasks.settings import Settings


class Ref(BaseModel):
    """Names an object of the store: a sha256 digest in hex and the suffix of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    suffix: str = Field("", pattern=r"^(\.[a-z0-9.]+)?$")

    @property
    def key(self) -> str:
        """Path inside the store."""
        return f"sha256/{self.digest[:2]}/{self.digest}{self.suffix}"

    def __str__(self) -> str:
        return f"sha256:{self.digest}{self.suffix}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str(ref)` wrote."""
        digest, dot, suffix = text.removeprefix("sha256:").partition(".")
        return cls(digest=digest, suffix=dot + suffix)


class Store:
    """Content-addressed bytes. Safe for many writers: equal bytes have one name, and a file appears whole or not at all."""

    def __init__(self, url: str) -> None:
        self.fs, self.base = fsspec.core.url_to_fs(url)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store of an installation."""
        return cls(settings.store)

    def put(self, data: bytes, suffix: str = "") -> Ref:
        """Keep `data` and return its name; putting the same bytes again writes nothing."""
        ref = Ref(digest=hashlib.sha256(data).hexdigest(), suffix=suffix)
        path = f"{self.base}/{ref.key}"
        if not self.fs.exists(path):
            part = f"{path}.{uuid4().hex}.part"
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(part, data)
            self.fs.mv(part, path)
        return ref

    def get(self, ref: Ref) -> bytes:
        """The bytes of `ref`.

        Raises:
            StoreError: they are missing, or are not the bytes that were put.
        """
        try:
            data: bytes = self.fs.cat_file(f"{self.base}/{ref.key}")
        except FileNotFoundError:
            raise StoreError(str(ref), "missing") from None
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
            with tarfile.open(fileobj=io.BytesIO(self.get(ref))) as tar:
                tar.extractall(part, filter="data")
            try:
                part.rename(folder)
            except OSError:  # somebody else unpacked the same bytes meanwhile
                if not folder.exists():
                    raise
        return folder
