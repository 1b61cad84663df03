"""The init container's program: a bento is there whole and checked, or not at all."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import hosting
import pytest
from ports import free_port
from s3 import Bucket, s3, s3_server

from bentos.runtime.digest import DigestError, digest_of, key, unpack
from bentos.runtime.fetch import TAMPERED, UNREACHABLE, main
from bentos.runtime.release import Release
from tasks.store import Ref

__all__ = ["s3", "s3_server"]


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release whose bento is in the store that the environment names."""
    release, store = hosting.stored(hosting.bento(1.0))
    copied = tmp_path / "store" / key(release.bento)
    copied.parent.mkdir(parents=True)
    copied.write_bytes(store.get(Ref.parse(release.bento)))
    monkeypatch.setenv("RATCHET_STORE_URL", f"file://{tmp_path / 'store'}")
    return release


def fetched(release: Release, folder: Path) -> int:
    (folder / "release.json").write_text(release.model_dump_json())
    (folder / "to").mkdir(exist_ok=True)
    return main(["--release", str(folder / "release.json"), "--to", str(folder / "to")])


@contextmanager
def answering(status: int | None) -> Iterator[int]:
    """The port of a web server that answers everything with a status; with None, a port that nothing listens on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status or 500)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    if status is None:
        yield free_port()
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_key_of_an_object_is_the_stores() -> None:
    assert key(f"sha256:{'ab' * 32}.tar") == Ref(digest="ab" * 32, suffix=".tar").key


def test_the_bento_of_a_release_is_fetched_and_nothing_else_is_left(release: Release, tmp_path: Path) -> None:
    assert fetched(release, tmp_path) == 0
    assert digest_of(tmp_path / "to" / "bento") == release.bento
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["bento"]


def test_what_somebody_changed_is_fetched_again_and_what_is_right_is_kept(release: Release, tmp_path: Path) -> None:
    fetched(release, tmp_path)
    (tmp_path / "to" / "bento" / "bento.yaml").write_text("changed")
    assert fetched(release, tmp_path) == 0
    assert digest_of(tmp_path / "to" / "bento") == release.bento

    (tmp_path / "store" / key(release.bento)).unlink()
    assert fetched(release, tmp_path) == 0


@pytest.mark.parametrize(("change", "said"), [("changed", "Nothing was unpacked"), ("missing", "does not hold"), ("another model", "the release names")])
def test_bytes_that_the_release_does_not_name_end_it_with_3(
    change: str, said: str, release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "store" / key(release.bento)
    match change:
        case "changed":
            kept.write_bytes(kept.read_bytes()[:-1] + b"x")
        case "missing":
            kept.unlink()
        case _:
            release = release.model_copy(update={"artefact": hosting.release(hosting.bento(2.0)).artefact})

    assert fetched(release, tmp_path) == TAMPERED
    assert said in capsys.readouterr().err
    assert not (tmp_path / "to" / "bento").exists()


@pytest.mark.parametrize(("name", "kind"), [("../out", tarfile.REGTYPE), ("/out", tarfile.REGTYPE), ("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)])
def test_a_tar_that_leads_out_of_its_folder_is_not_unpacked(name: str, kind: bytes, tmp_path: Path) -> None:
    file, info = io.BytesIO(), tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(info)
    file.seek(0)

    with pytest.raises(DigestError, match="no plain file"):
        unpack(file, tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["", "nothing://here"])
def test_a_store_that_cannot_be_reached_is_named_and_ends_it_with_1(
    store: str, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RATCHET_STORE_URL", store)

    assert fetched(release, tmp_path) == UNREACHABLE
    assert f"The store {store}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code", "said"), [(404, TAMPERED, "does not hold"), (503, UNREACHABLE, "cannot be read"), (None, UNREACHABLE, "cannot be read")]
)
def test_a_web_server_that_is_not_there_yet_is_no_missing_bento(
    answer: int | None, code: int, said: str, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(answer) as port:
        monkeypatch.setenv("RATCHET_STORE_URL", f"http://127.0.0.1:{port}")
        assert fetched(release, tmp_path) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("bucket", "code"), [("", TAMPERED), ("-that-is-not-there", UNREACHABLE)])
def test_a_missing_object_is_final_and_a_missing_bucket_is_not(
    bucket: str, code: int, s3: Bucket, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_STORE_URL", s3.url + bucket)

    assert fetched(release, tmp_path) == code


def test_a_file_without_a_release_is_named_and_another_try_would_end_the_same(release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "release.json").write_text('{"v": 1}')

    assert main(["--release", str(tmp_path / "release.json"), "--to", str(tmp_path)]) == TAMPERED
    err = capsys.readouterr().err
    assert f"The release file {tmp_path / 'release.json'} holds no release" in err and err.count("\n") == 1
