"""UUIDv7: ids in the order of time (RFC 9562, 6.2 method 3). Python 3.11 has none."""

import os
import time


class Uuid7:
    """Makes ids that never go back within a process: 48 bits of milliseconds, 12 of their fraction, 62 of chance."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> str:
        """A new id in the usual text form."""
        millis, rest = divmod(time.time_ns(), 1_000_000)
        self._last = moment = max((millis << 12) | (rest * 4096 // 1_000_000), self._last + 1)
        chance = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
        text = f"{(moment >> 12) << 80 | 0x7 << 76 | (moment & 0xFFF) << 64 | 0b10 << 62 | chance:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
