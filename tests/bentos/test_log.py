"""A line is on disk when `append` returns, whole or not at all."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from bentos.runtime.log import LogWriter, read_lines


def test_lines_come_back_in_order_over_all_segments(tmp_path: Path) -> None:
    first = LogWriter(tmp_path / "log")
    first.append([{"n": 1}, {"n": 2}])
    second = LogWriter(tmp_path / "log", fsync=True)
    second.append([{"n": 3}])

    assert [orjson.loads(line)["n"] for line in read_lines(tmp_path / "log")] == [1, 2, 3]


def test_a_segment_is_named_by_time_and_process(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)

    assert re.fullmatch(rf"\d{{8}}T\d{{6}}\.\d{{6}}Z-{os.getpid()}\.jsonl", writer.path.name)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append([{"n": 1}])
    with writer.path.open("ab") as file:
        file.write(b'{"n": 2, "half')

    assert list(read_lines(tmp_path)) == [b'{"n":1}\n']


def test_a_folder_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none")) == []


def test_lines_of_many_threads_are_never_mixed(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    threads = [threading.Thread(target=lambda i=i: [writer.append([{"i": i, "pad": "x" * 5000}]) for _ in range(200)]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = [orjson.loads(line) for line in read_lines(tmp_path)]

    assert len(lines) == 800
    assert all(line["pad"] == "x" * 5000 for line in lines)


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from bentos.runtime.log import LogWriter
LogWriter(Path(sys.argv[1])).append([{"n": 1}])
os.kill(os.getpid(), signal.SIGKILL)
"""

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)

    assert done.returncode == -signal.SIGKILL
    assert list(read_lines(tmp_path)) == [b'{"n":1}\n']


def test_a_disk_that_takes_half_a_line_gets_it_cut_off_and_the_caller_is_told(tmp_path: Path) -> None:
    """A file size limit stands for a full disk: the kernel writes up to it, then refuses."""
    code = """
import resource, signal, sys
from pathlib import Path
from bentos.runtime.log import LogWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = LogWriter(Path(sys.argv[1]))
writer.append([{"n": 1}])
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
for _ in range(2):
    try:
        writer.append([{"n": 2, "pad": "x" * 100}])
    except OSError:
        print("refused")
writer.append([{"n": 3}])
"""

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["refused", "refused"]
    assert list(read_lines(tmp_path)) == [b'{"n":1}\n', b'{"n":3}\n']


def test_a_closed_log_refuses_lines_and_never_writes_into_what_was_opened_since(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    writer.close()

    with (tmp_path / "other").open("wb"), pytest.raises(OSError, match="Bad file descriptor"):
        writer.append([{"n": 1}])

    assert (tmp_path / "other").read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        LogWriter(tmp_path / "file" / "log")


def locked(path: Path) -> bool:
    """True while a writer holds a segment."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def test_a_full_segment_is_followed_by_another_and_only_the_newest_is_held(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment=1_000)
    for n in range(100):
        writer.append([{"n": n, "pad": "x" * 80}])

    assert [orjson.loads(line)["n"] for line in read_lines(tmp_path)] == list(range(100))
    assert len(segments(tmp_path)) > 5
    assert all(path.stat().st_size <= 1_000 for path in segments(tmp_path))
    assert [path for path in segments(tmp_path) if locked(path)] == [writer.path]
    writer.close()
    assert not locked(writer.path)


def test_a_segment_of_yesterday_is_left_with_the_next_line(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, age=0)
    for n in range(3):
        writer.append([{"n": n}])

    assert [orjson.loads(line)["n"] for line in read_lines(tmp_path)] == [0, 1, 2]
    assert len(segments(tmp_path)) == 3
    assert [path for path in segments(tmp_path) if locked(path)] == [writer.path]


def test_a_segment_of_yesterday_is_left_without_a_next_line_too(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, age=0)
    writer.turn()
    empty = segments(tmp_path)
    writer.append([{"n": 0}])
    writer.turn()
    left = segments(tmp_path)
    writer.append([{"n": 1}])

    assert (len(empty), len(left)) == (1, 2), "what holds no line is not left"
    assert [orjson.loads(line)["n"] for line in read_lines(tmp_path)] == [0, 1]
    assert [locked(path) for path in segments(tmp_path)] == [False, True]
    young = LogWriter(tmp_path / "young")
    young.append([{"n": 0}])
    young.turn()
    assert len(segments(tmp_path / "young")) == 1
    young.close()
    young.turn()
    assert len(segments(tmp_path / "young")) == 1


def test_lines_larger_than_a_segment_have_one_of_their_own(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment=1_000)
    for n in range(3):
        writer.append([{"n": n, "pad": "x" * 5_000}])

    assert [orjson.loads(line)["n"] for line in read_lines(tmp_path)] == [0, 1, 2]
    assert len(segments(tmp_path)) == 3


def test_a_dead_writers_segment_is_not_held(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from bentos.runtime.log import LogWriter; w = LogWriter(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()

    held = [locked(path) for path in segments(tmp_path)]
    process.kill()
    process.communicate()

    assert (held, [locked(path) for path in segments(tmp_path)]) == ([True], [False])


def test_a_folder_at_its_budget_refuses_lines_until_complete_segments_are_gone(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, budget=10_000)
    for _ in range(100):
        writer.append([{"pad": "x" * 80}])
    with pytest.raises(OSError, match="reached its budget of 10,000 bytes"):
        writer.append([{"pad": "x" * 1_500}])

    for path in segments(tmp_path):
        if not locked(path):
            path.unlink()

    writer.append([{"pad": "x" * 1_500}])


def test_what_other_writers_left_counts_towards_the_budget(tmp_path: Path) -> None:
    (tmp_path / "20260101T000000.000000Z-1.jsonl").write_bytes(b"x" * 9_999)

    with pytest.raises(OSError, match="budget"):
        LogWriter(tmp_path, budget=10_000).append([{"n": 1}])


def test_a_segment_that_is_deleted_before_it_is_held_is_begun_again(tmp_path: Path) -> None:
    """A shipper may meet a new segment before its writer has locked it, and take it for a dead one's."""
    done = threading.Event()

    def delete() -> None:
        while not done.is_set():
            for path in segments(tmp_path):
                with path.open("rb") as file, suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()

    deleting = threading.Thread(target=delete)
    deleting.start()
    writers = [LogWriter(tmp_path) for _ in range(200)]
    done.set()
    deleting.join()

    assert all(writer.path.exists() for writer in writers)
