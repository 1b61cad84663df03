"""UUIDv7: ids in the order of time (RFC 9562, 6.2 method 3). Python 3.11 has none."""

import os
import time

VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # two bits of chance, after the two that say which kind of id it is


class Uuid7:
    """Makes ids that never go back within a process: 48 bits of milliseconds, 12 of their fraction, 62 of chance."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> str:
        """A new id in the usual text form."""
        self._last = moment = max((time.time_ns() << 12) // 1_000_000, self._last + 1)  # in 4096ths of a millisecond
        start, chance = f"{moment:015x}", os.urandom(8).hex()
        return f"{start[:8]}-{start[8:12]}-7{start[12:]}-{VARIANT[chance[0]]}{chance[1:4]}-{chance[4:]}"
