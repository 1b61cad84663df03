"""Who asks us to stop: SIGINT, SIGTERM and SIGHUP, and a parent that is gone or a make that was interrupted alone."""

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


def parent_stops() -> bool:
    """True when the process that `RATCHET_PARENT` names, our parent, is gone or about to go.

    GNU make passes SIGTERM on to its recipe, but counts on the terminal to have sent SIGINT to everybody. A script that
    interrupts only make would wait for ever. While make waits, its own SIGINT handler is off again, which /proc shows.
    """
    parent = os.environ.get("RATCHET_PARENT")
    if not parent:
        return False
    if os.getppid() != int(parent):
        return True
    try:
        status = Path(f"/proc/{parent}/status").read_text()
    except OSError:
        return False  # no /proc here
    handled = [int(status.partition(f"{field}:")[2].split()[0], 16) for field in ("SigCgt", "SigIgn")]
    return not any(mask & 1 << (signal.SIGINT - 1) for mask in handled)
