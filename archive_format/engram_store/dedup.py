"""Where content already lies, while a deposit goes on: the vault's index and what the session has written itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from engram_format.history import History
from engram_format.ids import ContentId
from engram_format.index import MAX_RUN_FRAMES, IndexRun
from engram_format.location import Location
from engram_store.frames import FrameReader

_MAX_RUNS: Final = 16
"""A vault with more runs than this has its small ones merged by the next commit."""


class KnownContent:
    """Content ids of a vault and of one session. Thread-safe.

    Bounded memory: 30 bytes a frame in columns; only the latest 64 K frames of the session are kept in a dictionary.
    """

    def __init__(self, stored: Iterable[IndexRun] = ()) -> None:
        self._stored = IndexRun.merged(list(stored))
        self._written: list[IndexRun] = []
        self._recent: dict[ContentId, Location] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, history: History, frames: FrameReader) -> KnownContent:
        """Read all valid runs of a vault's index."""
        return cls(IndexRun.from_bytes(frames.read(location)) for location in history.index_runs.values())

    def find(self, content: ContentId, *, raw_size: int) -> Location | None:
        """Return where this content lies."""
        with self._lock:
            if content in self._recent:
                return self._recent[content]
            runs = (*self._written, self._stored)
        return next((found for run in runs if (found := run.find(content, raw_size=raw_size)) is not None), None)

    def add(self, content: ContentId, location: Location) -> None:
        """Remember a frame that the session has written."""
        with self._lock:
            self._recent[content] = location
            if len(self._recent) >= MAX_RUN_FRAMES:
                self._written.append(IndexRun.of(self._recent))
                self._recent = {}

    def written(self) -> IndexRun:
        """Return all frames that the session has written, as one sorted run."""
        with self._lock:
            return IndexRun.merged([*self._written, IndexRun.of(self._recent)])


def mergeable(history: History) -> list[Location]:
    """Return the runs that the next commit should merge with its own: all short ones, once there are many."""
    if len(history.index_runs) < _MAX_RUNS:
        return []
    half = MAX_RUN_FRAMES * 30 // 2
    return [location for location in history.index_runs.values() if location.place.raw_size < half]
