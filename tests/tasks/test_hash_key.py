"""The key of the hashes: made once, for its owner only, and never replaced by another."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bentos.runtime.release import Release
from tasks.errors import PlatformError
from tasks.hash_key import hash_key, known_hash_key
from tasks.release.generation import environment
from tasks.settings import Settings


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    first = hash_key(settings)

    path = tmp_path / "home" / "hash.key"
    assert len(bytes.fromhex(first)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert hash_key(settings) == known_hash_key(settings) == path.read_text().strip() == first
    assert [each.name for each in path.parent.iterdir()] == ["hash.key"]
    assert hash_key(Settings(home=tmp_path / "other")) != first


def test_all_who_make_it_at_the_same_time_get_the_same_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = set(threads.map(lambda _: hash_key(Settings(home=tmp_path)), range(64)))

    assert len(made) == 1


def test_a_key_that_is_set_wins_and_makes_no_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, hash_key="of the cluster")  # type: ignore[arg-type]  # pydantic makes it a secret

    assert hash_key(settings) == known_hash_key(settings) == "of the cluster"
    assert list(tmp_path.iterdir()) == []
    assert "of the cluster" not in repr(settings)


def test_where_there_is_none_asking_makes_none(tmp_path: Path) -> None:
    assert known_hash_key(Settings(home=tmp_path)) == ""
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_told_and_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "hash.key").write_text("\n")

    with pytest.raises(PlatformError, match="hash.key is empty. Put it back from a backup"):
        hash_key(Settings(home=tmp_path))

    assert (tmp_path / "hash.key").read_text() == "\n"


def test_a_server_is_told_the_key_of_its_installation(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    release = Release(id="toy-r1", model="toy", version="20130101-1", bento="sha256:" + "0" * 64, artefact="sha256:" + "0" * 64)

    assert environment(settings, release)["RATCHET_HASH_KEY"] == known_hash_key(settings) != ""
