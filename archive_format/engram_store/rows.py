"""The recipe of an artifact while it grows: locations in order, kept in columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engram_format.location import MAX_PAGE_FRAMES, Location, LocationPage
from engram_format.manifest import INLINE_FRAMES

ROW_BYTES: Final = 20


class Rows:
    """Locations in order; bounded memory, about 20 bytes each."""

    def __init__(self) -> None:
        self._pages: list[LocationPage] = []
        self._recent: list[Location] = []
        self.size = 0
        """Bytes of the originals of all frames."""
        self.count = 0
        self.stored_size = 0
        """Bytes of ciphertext in all frames."""

    def append(self, location: Location) -> None:
        """Add the next frame."""
        self._recent.append(location)
        self.size += location.place.raw_size
        self.count += 1
        self.stored_size += location.place.length
        if len(self._recent) == MAX_PAGE_FRAMES:
            self._pages.append(LocationPage.of(self._recent))
            self._recent = []

    def __iter__(self) -> Iterator[Location]:
        for page in self._pages:
            yield from page
        yield from self._recent

    def pages(self) -> list[LocationPage]:
        """Return all rows in pages; one page (perhaps empty) if they are few enough to stand in a manifest."""
        recent = [LocationPage.of(self._recent)] if self._recent or not self._pages else []
        return [*self._pages, *recent]

    @property
    def fits_inline(self) -> bool:
        """Tell whether the recipe stands in the manifest itself."""
        return self.count <= INLINE_FRAMES

    def page_starts(self) -> tuple[int, ...]:
        """Return where in the original each page begins."""
        sizes = [int(page.raw_size.sum(dtype=np.uint64)) for page in self.pages()]
        return tuple(sum(sizes[:number]) for number in range(len(sizes)))
