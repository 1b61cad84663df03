"""What a machine must offer, and how it is said when it does not."""

import os
from pathlib import Path

import pytest

from deployments.local import checks
from tasks.errors import PlatformError
from tasks.settings import Settings


def test_a_python_that_is_not_locked_for_is_refused() -> None:
    with pytest.raises(PlatformError, match=r"Python 3.10; Ratchet needs 3.11 or 3.12"):
        checks.python_version((3, 10))
    checks.python_version((3, 12))


def test_a_full_disk_is_refused_with_what_is_free_and_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"GB free; Ratchet needs 1000000000.0 GB"):
        checks.disk(tmp_path / "not" / "there" / "yet", needed=10**18)
    checks.disk(tmp_path, needed=1)


def test_two_purposes_for_one_port_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="Port 4201 is meant for an endpoint and for the reports"):
        checks.ports(Settings(home=tmp_path, endpoint_port=4200 - 1, ui_port=4300, reports_port=4201), 3)


def test_a_home_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PlatformError, match="cannot be written"), checks.only_one(tmp_path / "file" / "home"):
        pass


def test_the_lock_of_a_home_is_free_again_when_its_holder_has_ended(tmp_path: Path) -> None:
    with checks.only_one(tmp_path):
        assert checks.holder(tmp_path) == os.getpid()
        with pytest.raises(PlatformError, match=f"is running already .*process {os.getpid()}"), checks.only_one(tmp_path):
            pass

    assert checks.holder(tmp_path) is None
