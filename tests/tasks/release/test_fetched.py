"""Fetched bentos: what nothing needs goes, and neither a concurrent apply nor a kill halfway leaves a folder that only looks whole."""

import subprocess
import sys
from pathlib import Path

import hosting
import pytest

from bentos.runtime.digest import digest_of
from tasks.release.desired import Desired, Wanted
from tasks.release.fetched import condemn, delete, fetch, locked


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text(name)
    return root


def test_what_is_not_kept_goes_and_so_does_what_an_earlier_deletion_or_fetch_left(tmp_path: Path) -> None:
    root = folders(tmp_path / "bentos", "aaaa", "bbbb", ".cccc.1234", ".dddd.5678")

    with locked(root):
        condemned = condemn(root, {root / "aaaa"})

    assert (root / "aaaa" / "file").exists()
    assert not (root / "bbbb").exists(), "out of use before anything of it is deleted"
    delete(condemned)
    assert {path.name for path in root.iterdir()} == {"aaaa", ".lock"}


def test_a_bento_whose_deletion_was_killed_halfway_is_fetched_whole(tmp_path: Path) -> None:
    release, store = hosting.stored(hosting.bento(1.0))
    root = tmp_path / "bentos"
    with locked(root):
        bento = fetch(release, store, root)
        (condemned,) = condemn(root, ())
    next(condemned.rglob("card.json")).unlink()  # here it was killed

    with locked(root):
        assert fetch(release, store, root) == bento
        assert digest_of(bento) == release.bento
        assert condemn(root, {bento}) == [condemned]


def test_nothing_is_condemned_between_a_fetch_and_the_order_to_serve_it(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from tasks.release.fetched import locked\nwith locked(Path({str(tmp_path)!r})): print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        with pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
            pass
        other.kill()

    with locked(tmp_path, wait=False):
        pass


def test_the_bento_served_before_is_remembered_until_its_model_is_removed(tmp_path: Path) -> None:
    release = hosting.release(hosting.bento(1.0))

    def put(desired: Desired, name: str) -> Desired:
        return desired.put(Wanted(release=release, bento=tmp_path / name, port=1))

    twice = put(put(put(Desired(), "a"), "b"), "b")

    assert twice.before == {"toy": tmp_path / "a"}, "asking for the same again forgets nothing"
    assert put(twice, "c").before == {"toy": tmp_path / "b"}
    assert twice.drop("toy") == Desired()
