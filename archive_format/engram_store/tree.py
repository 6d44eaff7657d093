"""Reading the tree of a version: in order, from any path on, or one entry, by few pages (SPEC.md section 9)."""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from engram_format.errors import FormatError
from engram_format.history import Commit
from engram_format.location import Location
from engram_format.manifest import TreeEntry, TreePage
from engram_store.frames import FrameReader

_PAGES_KEPT: Final = 4
"""Decoded pages in memory, of about ten thousand entries each."""


def read_tree(frames: FrameReader, commit: Commit) -> Iterator[tuple[TreeEntry, Location]]:
    """Yield the entries of a version, by path, and where their manifests lie."""
    return TreeReader(frames).entries(commit)


class TreeReader:
    """Reads the trees of one vault and keeps the latest pages. Thread-safe."""

    def __init__(self, frames: FrameReader) -> None:
        self._frames = frames
        self._lock = threading.Lock()
        self._pages: OrderedDict[Location, TreePage] = OrderedDict()

    def entries(self, commit: Commit, *, start: str = "") -> Iterator[tuple[TreeEntry, Location]]:
        """Yield the entries whose path is `start` or comes after it, by path, and where their manifests lie."""
        number = self._number_of_page(commit, start) if start else 0
        last = ""
        for location in list(commit.tree)[number:]:
            page = self._page(location)
            if not page.entries or page.entries[0].path <= last:
                raise FormatError(
                    f"the tree of {commit.memory}@{commit.number} is damaged: its pages do not follow one another"
                )
            last = page.entries[-1].path
            first = _row(page, start)
            for row in range(first, len(page.entries)):
                yield page.entries[row], page.manifests[row]

    def find(self, commit: Commit, path: str) -> tuple[TreeEntry, Location] | None:
        """Return the entry of an artifact and where its manifest lies."""
        found = next(self.entries(commit, start=path), None)
        return found if found is not None and found[0].path == path else None

    def _number_of_page(self, commit: Commit, path: str) -> int:
        """Return the number of the last page that does not begin after `path`, or 0: halving, one page read each time."""
        low, high = 0, len(commit.tree)
        while high - low > 1:
            middle = (low + high) // 2
            page = self._page(commit.tree[middle])
            if page.entries and page.entries[0].path <= path:
                low = middle
            else:
                high = middle
        return low

    def _page(self, location: Location) -> TreePage:
        with self._lock:
            if location in self._pages:
                self._pages.move_to_end(location)
                return self._pages[location]
        page = TreePage.from_bytes(self._frames.read(location))
        with self._lock:
            self._pages[location] = page
            while len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)
        return page


def _row(page: TreePage, start: str) -> int:
    """Return the row of the first entry that does not come before `start`."""
    return bisect.bisect_left(page.entries, start, key=lambda entry: entry.path)
