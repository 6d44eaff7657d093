"""How many bytes the large blocks of slices may take at once, whoever asks for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LARGE_BYTES: Final = 16 * 2**20
"""A block of less, as most are, waits for nobody."""


class Budget:
    """Bytes that large blocks share. Thread-safe; who came first is served first, and one that is over the limit alone."""

    def __init__(self, *, limit: int = 160 * 2**20) -> None:
        self._limit = limit
        self._taken = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Wait until there is room for `size` bytes, and hold them during the block, which must not ask for more."""
        if size < _LARGE_BYTES:
            yield
            return
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._limit)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
