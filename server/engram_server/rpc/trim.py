"""Memory back to the system: the C library keeps what large messages were made of, which nobody needs soon again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from typing import Final

_LARGE: Final = 8 << 20
_AFTER_S: Final = 1.0


class Trim:
    """Trims the C library's memory once a while has gone by since the first of some large messages. Used from one loop."""

    def __init__(self) -> None:
        self._waiting = False

    def after(self, size: int) -> None:
        """Say that a message of `size` bytes is done with."""
        if size >= _LARGE and not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_later(_AFTER_S, self._go)

    def _go(self) -> None:
        self._waiting = False
        asyncio.get_running_loop().run_in_executor(None, _trim)


def _trim() -> None:
    # Only glibc has it, and only glibc needs it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
