"""Where the frames of an artifact lie, looked up by offset in the original (SPEC.md section 9)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import Damaged
from engram_format.location import Location, LocationPage
from engram_format.manifest import Manifest
from engram_store.frames import FrameReader

_CACHED_PAGES: Final = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame of an artifact: bytes `start` up to `stop` of the original."""

    start: int
    stop: int
    location: Location


class Recipe:
    """The frames of one artifact, found by offset. Thread-safe; a few pages of a long recipe are kept."""

    def __init__(self, frames: FrameReader, manifest: Manifest) -> None:
        self._frames = frames
        self._manifest = manifest
        self._starts = (*manifest.page_starts, manifest.size) if manifest.pages is not None else (0, manifest.size)
        self._page_starts = np.array(self._starts[:-1], np.int64)
        self._lock = threading.Lock()
        self._pages: OrderedDict[int, tuple[LocationPage, NDArray[np.uint64]]] = OrderedDict()

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield the frames that hold bytes from `start` up to `stop`, which lie in the artifact, in their order."""
        if start == stop:
            return
        number = int(np.searchsorted(self._page_starts, start, side="right")) - 1
        while number < len(self._page_starts) and self._starts[number] < stop:
            base = self._starts[number]
            page, starts = self._page(number)
            first = max(int(np.searchsorted(starts, max(start - base, 0), side="right")) - 1, 0)
            last = min(int(np.searchsorted(starts, stop - base, side="left")), len(page))
            for row in range(first, last):
                yield Piece(base + int(starts[row]), base + int(starts[row + 1]), page[row])
            number += 1

    def _page(self, number: int) -> tuple[LocationPage, NDArray[np.uint64]]:
        with self._lock:
            if number in self._pages:
                self._pages.move_to_end(number)
                return self._pages[number]
        page = self._read(number)
        starts = page.starts()
        if self._starts[number] + int(starts[-1]) != self._starts[number + 1]:
            raise Damaged(f"page {number} of a recipe does not end where the manifest says")
        with self._lock:
            self._pages[number] = page, starts
            while len(self._pages) > _CACHED_PAGES:
                self._pages.popitem(last=False)
        return page, starts

    def _read(self, number: int) -> LocationPage:
        if self._manifest.pages is None:
            return self._manifest.inline or LocationPage.of(())
        return LocationPage.from_bytes(self._frames.read(self._manifest.pages[number]))
