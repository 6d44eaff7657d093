"""Where content already lies, while a deposit goes on: the vault's index and what the session has written itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

from engram_format.catalog import FindingKind
from engram_format.errors import Damaged, Precondition
from engram_format.history import History
from engram_format.ids import ContentId
from engram_format.index import MAX_RUN_FRAMES, IndexRun
from engram_format.location import Location, PackRef
from engram_store.backend import exists
from engram_store.frames import FrameReader
from engram_store.inspection import inspect_object
from engram_store.vault import VaultStore

logger = logging.getLogger(__name__)

_MAX_RUNS: Final = 16
"""A vault with more runs than this has its small ones merged by the next commit."""


class KnownContent:
    """Content ids of a vault and of one session. Thread-safe.

    Bounded memory: 30 bytes a frame in columns; only the latest 32 K frames of the session are kept in a dictionary.
    """

    def __init__(
        self, stored: Iterable[IndexRun] = (), *, is_there: Callable[[PackRef], bool] = lambda _: True
    ) -> None:
        self._is_there = is_there
        self._checking = threading.Lock()
        self._checked: dict[PackRef, bool] = {}
        self._stored = IndexRun.merged(list(stored))
        self._written: list[IndexRun] = []
        self._recent: dict[ContentId, Location] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, store: VaultStore, history: History, frames: FrameReader, *, parity: bool) -> KnownContent:
        """Read all valid runs of a vault's index; content whose pack is condemned or lost counts as unknown.

        Where packs carry parity, which is where the storage does not check itself, a pack's shards are compared with their
        hashes at its first use; elsewhere it must be there.
        """

        def is_there(pack: PackRef) -> bool:
            if pack.name in history.condemned:
                return False
            if not parity:
                return exists(store.backend, pack.name.key)
            return inspect_object(store.backend, pack.name.key).result is not FindingKind.LOST

        return cls(read_runs(frames, history.index_runs.values()).values(), is_there=is_there)

    def find(self, content: ContentId, *, raw_size: int) -> Location | None:
        """Return where this content lies."""
        with self._lock:
            if content in self._recent:
                return self._recent[content]
            written = tuple(self._written)
        for run in written:
            if (found := run.find(content, raw_size=raw_size)) is not None:
                return found
        stored = self._stored.places(content, raw_size=raw_size)
        return next((location for location in stored if self._usable(location.pack)), None)

    def _usable(self, pack: PackRef) -> bool:
        """Tell whether a pack of an earlier session is there, asking the storage at its first use."""
        with self._checking:
            if pack not in self._checked:
                self._checked[pack] = self._is_there(pack)
            return self._checked[pack]

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


def read_runs(frames: FrameReader, locations: Iterable[Location]) -> dict[Location, IndexRun]:
    """Read runs of the index; one that cannot be read is left out: what it knew is stored again, and nothing is lost."""
    runs = {}
    for location in locations:
        try:
            runs[location] = IndexRun.from_bytes(frames.read(location))
        except (Damaged, Precondition) as error:
            logger.warning("a run of the index cannot be read and is not used: %s", error)
    return runs


def mergeable(history: History) -> list[Location]:
    """Return the runs that the next commit should merge with its own: all short ones, once there are many."""
    if len(history.index_runs) < _MAX_RUNS:
        return []
    half = MAX_RUN_FRAMES * 30 // 2
    return [location for location in history.index_runs.values() if location.place.raw_size < half]
