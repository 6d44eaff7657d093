"""Content-defined cuts of opaque bytes into frames (SPEC.md section 7).

Where a writer cuts is its own choice: readers follow the recipe. Equal cuts in equal content are what finds duplicates, so
the parameters and the seed stay the same within a vault. The cuts are FastCDC's (Xia et al. 2020), found by `pyfastcdc`, which is
about three times as fast as `fastcdc` (`bench/chunking.py`), releases the interpreter's lock and takes a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pyfastcdc import FastCDC

MIN_CHUNK_BYTES: Final = 512 * 1024
MEAN_ABOVE_MIN_BYTES: Final = 512 * 1024
"""The mean chunk is this much longer than the shortest: 1 MiB."""
MAX_CHUNK_BYTES: Final = 4 * 2**20
_WINDOW_BYTES: Final = 2 * MAX_CHUNK_BYTES


class Chunker:
    """Cuts a stream: feed it pieces of any size, take chunks of 0.5 to 4 MiB; the cuts do not depend on the pieces."""

    def __init__(self, *, seed: int) -> None:
        self._cutter = FastCDC(
            MEAN_ABOVE_MIN_BYTES, min_size=MIN_CHUNK_BYTES, max_size=MAX_CHUNK_BYTES, normalized_chunking=1, seed=seed
        )
        self._window = bytearray(_WINDOW_BYTES)
        self._filled = 0

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes; yield the chunks that are certain now."""
        view = memoryview(data)
        while view:
            taken = min(len(view), _WINDOW_BYTES - self._filled)
            self._window[self._filled : self._filled + taken] = view[:taken]
            self._filled += taken
            view = view[taken:]
            if self._filled == _WINDOW_BYTES:
                yield from self._cut(last=False)

    def finish(self) -> Iterator[bytes]:
        """Yield what is left; the chunker can then be used for another stream."""
        yield from self._cut(last=True)

    def _cut(self, *, last: bool) -> Iterator[bytes]:
        done = 0
        with memoryview(self._window)[: self._filled] as window:
            for chunk in self._cutter.cut_buf(window):
                # A cut is certain only if the longest chunk would have fitted: more bytes could move it.
                if not last and chunk.offset + MAX_CHUNK_BYTES > self._filled:
                    break
                done = chunk.offset + chunk.length
                yield bytes(window[chunk.offset : done])
        left = self._filled - done
        self._window[:left] = self._window[done : self._filled]
        self._filled = left
