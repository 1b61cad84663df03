"""Who asks us to stop: SIGINT, SIGTERM and SIGHUP, and a make that was interrupted alone."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Asked:
    """Notes the first signal that asks to stop. A second one changes nothing, since stopping is under way."""

    def __init__(self) -> None:
        self.signal = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals instead of dying of them; SIGINT as well where it was ignored, as it is for a script's `command &`."""

        def note(number: int, _: FrameType | None) -> None:
            self.signal = self.signal or signal.Signals(number).name

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_was_interrupted() -> bool:
    """True when `make run` runs us and was interrupted alone, or is gone.

    GNU make passes SIGTERM on to its recipe, but counts on the terminal to have sent SIGINT to everybody. A script that
    interrupts only make would wait for ever. While make waits, its own SIGINT handler is off again, which /proc shows.
    """
    make = os.environ.get("RATCHET_MAKE")
    if not make:
        return False
    if os.getppid() != int(make):
        return True
    try:
        status = Path(f"/proc/{make}/status").read_text()
    except OSError:
        return False  # no /proc here
    handled = [int(status.partition(f"{field}:")[2].split()[0], 16) for field in ("SigCgt", "SigIgn")]
    return not any(mask & 1 << (signal.SIGINT - 1) for mask in handled)
