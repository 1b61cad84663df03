"""A line is on disk when `append` returns, whole or not at all."""

import os
import re
import signal
import subprocess
import sys
import threading
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
