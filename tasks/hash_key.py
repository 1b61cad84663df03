"""The secret of the hashes in the prediction log. Without one, hashes of e-mail addresses or phone numbers are undone by trying them all."""

import os
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.errors import PlatformError
from tasks.settings import Settings


def hash_key(settings: Settings) -> str:
    """The key of this installation: the one that is set, else that in `<home>/hash.key`, which is made when there is none.

    Raises:
        PlatformError: the file holds no key.
    """
    if found := known_hash_key(settings):
        return found
    _make(settings.root / "hash.key")
    return known_hash_key(settings)


def known_hash_key(settings: Settings) -> str:
    """The same, but nothing is made; empty when there is none.

    Raises:
        PlatformError: the file holds no key.
    """
    path = settings.root / "hash.key"
    if told := settings.hash_key.get_secret_value():
        return told
    if not path.exists():
        return ""
    if not (kept := path.read_text().strip()):
        raise PlatformError(f"{path} is empty", "Put it back from a backup, or delete it: a new key is made, and the same person then has another hash")
    return kept


def _make(path: Path) -> None:
    """A whole file or none; who comes second keeps the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".hash-key-", dir=path.parent) as temporary:
        fresh = Path(temporary) / path.name
        fresh.touch(0o600)
        with fresh.open("w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
