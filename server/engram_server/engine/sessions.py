"""Which deposit sessions are open in this process: each at most once, and not too many."""

from __future__ import annotations

import threading
from typing import Final

from engram_format.errors import Exhausted, Unavailable
from engram_format.ids import SessionId

_MAX_OPEN: Final = 8
"""Each holds up to 130 MiB of buffers."""
_CLOSING_S: Final = 20.0
"""How long a session that is opened again waits for its earlier stream, which may be storing its last pack."""


class OpenSessions:
    """The open sessions of one archive in this process. Thread-safe."""

    def __init__(self) -> None:
        self._open: set[SessionId] = set()
        self._changed = threading.Condition()

    def enter(self, session: SessionId) -> None:
        """Take the place of a session; raises `Unavailable` where it stays open, and `Exhausted` where too many are."""
        with self._changed:
            if not self._changed.wait_for(lambda: session not in self._open, timeout=_CLOSING_S):
                raise Unavailable(f"deposit session {session} is open already: close it there, or wait until it ends")
            if len(self._open) >= _MAX_OPEN:
                raise Exhausted(f"{_MAX_OPEN} deposits are under way: wait until one of them ends")
            self._open.add(session)

    def leave(self, session: SessionId) -> None:
        """Give the place back."""
        with self._changed:
            self._open.discard(session)
            self._changed.notify_all()
