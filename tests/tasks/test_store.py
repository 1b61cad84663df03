"""The store's promises, on a folder and on a real S3 server."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3 import Bucket, forget

from tasks.errors import StoreError
from tasks.store import Files, Ref, Store, StoreAwayError

WRITER = """
import sys
from tasks.store import Store
store = Store(sys.argv[1])
for number in range(5):
    print(store.put(bytes([number]) * 3_000_000, ".bin"))
"""


@dataclass(frozen=True)
class Place:
    """A store, and where its objects lie as files, so that a test can break one."""

    url: str
    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.url)

    def objects(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def file(self, ref: Ref) -> Path:
        return self.folder / ref.key


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(f"file://{tmp_path / 'store'}", tmp_path / "store")
    bucket: Bucket = request.getfixturevalue("s3")
    return Place(f"{bucket.url}/store", bucket.folder / "store")


def tree(folder: Path) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "model.onnx").write_bytes(b"\x00\x01" * 1000)
    (folder / "card.json").write_text("{}")
    return folder


def test_what_is_put_is_got_under_the_name_of_its_bytes(place: Place) -> None:
    ref = place.store.put(b"rows", ".parquet")

    assert place.store.get(ref) == b"rows"
    assert Ref.parse(str(ref)) == ref
    assert place.objects() == [place.file(ref)]


def test_equal_bytes_are_kept_once_and_not_written_again(place: Place) -> None:
    ref = place.store.put(b"rows")
    before = place.file(ref).stat()

    assert place.store.put(b"rows") == ref
    after = place.file(ref).stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_what_one_store_puts_another_that_looked_before_sees(place: Place) -> None:
    early = place.store
    early.put(b"something")  # so that a listing could have been kept
    ref = Ref(digest="52a9c7c90e31c71c9c8e6e0a60d5d2e7b0e2b2ab9a6f2c1d5c5f5f2a4c1f0a11")
    with pytest.raises(StoreError):
        early.get(ref)

    ref = place.store.put(b"later")

    assert early.get(ref) == b"later"


def test_a_large_object_comes_back_whole(place: Place) -> None:
    data = bytes(range(256)) * 240_000  # 61 MB: more than one part of an upload

    assert place.store.get(place.store.put(data)) == data


def test_missing_bytes_are_named_with_the_store_they_are_missing_in(place: Place) -> None:
    ref = place.store.put(b"rows")
    place.file(ref).unlink()

    with pytest.raises(StoreError, match=f"{ref}: missing in {place.url.partition('://')[0]}://.*Restore it from a backup") as caught:
        place.store.get(ref)
    assert not isinstance(caught.value, StoreAwayError)


def test_changed_bytes_are_never_handed_out(place: Place) -> None:
    ref = place.store.put(b"rows")
    place.file(ref).write_bytes(b"r0ws")

    with pytest.raises(StoreError, match="they were changed"):
        place.store.get(ref)


def test_a_folder_comes_back_with_the_same_bytes_and_name(place: Place, tmp_path: Path) -> None:
    ref = place.store.put_tree(tree(tmp_path / "bento"))

    back = place.store.get_tree(ref, tmp_path / "back")

    assert (back / "deep" / "er" / "model.onnx").read_bytes() == b"\x00\x01" * 1000
    assert place.store.put_tree(back) == ref


def test_a_folder_whose_bytes_were_changed_is_not_unpacked(place: Place, tmp_path: Path) -> None:
    ref = place.store.put_tree(tree(tmp_path / "bento"))
    place.file(ref).write_bytes(place.file(ref).read_bytes().replace(b"{}", b"[]"))

    with pytest.raises(StoreError, match="they were changed"):
        place.store.get_tree(ref, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_many_processes_that_put_the_same_bytes_leave_each_object_once_and_whole(place: Place) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, place.url], stdout=subprocess.PIPE, text=True) for _ in range(4)]

    told = {writer.communicate()[0] for writer in writers}

    (names,) = told
    refs = [Ref.parse(line) for line in names.split()]
    assert sorted(place.file(ref) for ref in refs) == place.objects()
    assert [place.store.get(ref) for ref in refs] == [bytes([number]) * 3_000_000 for number in range(5)]


def test_threads_may_share_a_store_or_have_their_own(place: Place) -> None:
    shared = place.store

    def work(number: int) -> bytes:
        data = str(number % 10).encode() * 10_000
        return shared.get(place.store.put(data)) + place.store.get(shared.put(data))

    with ThreadPoolExecutor(16) as threads:
        done = list(threads.map(work, range(80)))

    assert done == [str(number % 10).encode() * 20_000 for number in range(80)]
    assert len(place.objects()) == 10


def test_wrong_keys_are_said_to_be_wrong_and_are_not_shown(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    forget()

    for ask in (lambda store: store.put(b"rows"), lambda store: store.get(Ref(digest="0" * 64))):
        with pytest.raises(
            StoreAwayError, match=f"The store at {s3.url} on http://localhost:.* cannot be used: PermissionError: .*AWS_SECRET_ACCESS_KEY"
        ) as caught:
            ask(Store(s3.url))
        assert "not-the-secret" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_no_missing_object(s3: Bucket) -> None:
    for ask in (lambda store: store.put(b"rows"), lambda store: store.get(Ref(digest="0" * 64))):
        with pytest.raises(StoreAwayError, match="s3://no-such-bucket on .*bucket does not exist"):
            ask(Store("s3://no-such-bucket"))


def test_a_server_that_is_not_there_is_named(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9")
    forget()

    with pytest.raises(StoreAwayError, match="on http://localhost:9 cannot be used: EndpointConnectionError"):
        Store(s3.url).get(Ref(digest="0" * 64))


def test_a_password_in_a_url_is_not_shown() -> None:
    assert Files("memory://user:secret@host/store").url == "memory://host/store"


def test_a_full_or_forbidden_folder_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")

    with pytest.raises(StoreAwayError, match="Error: .*store"):
        Store(f"file://{tmp_path / 'store'}").put(b"rows")
