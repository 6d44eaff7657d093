"""Reading slices of a series: only the frames that hold the wanted elements are fetched, some of them ahead.

manifest -> description -> extents of the original -> frames -> numbers
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.array_type import Filter
from engram_format.errors import Damaged
from engram_format.location import Location
from engram_format.series import Chunked, Series
from engram_format.slicing import Block, Extent, Numbers, Selection, blocks
from engram_store.budget import Budget
from engram_store.frames import FrameReader, Unfiltered
from engram_store.recipe import Piece, Recipe

_MAX_SHARED_FRAMES: Final = 64
"""Up to so many frames are held from one block of a slice to the next, which often needs the last of them again."""


Held = memoryview | Unfiltered
"""A frame: its original, or the chunks in it without the filters of their file."""


class FrameCache:
    """The frames that slices have used last. Thread-safe; bounded in bytes."""

    def __init__(self, *, max_bytes: int = 64 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._held: OrderedDict[Location, Held] = OrderedDict()
        self._bytes = 0

    def get(self, location: Location, *, unfiltered: bool) -> Held | None:
        """Return a frame if it is held; one without filters only to those who can use it."""
        with self._lock:
            found = self._held.get(location)
            if found is None or (isinstance(found, Unfiltered) and not unfiltered):
                return None
            self._held.move_to_end(location)
            return found

    def put(self, location: Location, frame: Held) -> None:
        """Hold a frame."""
        with self._lock:
            before = self._held.pop(location, None)
            self._bytes += len(frame) - (0 if before is None else len(before))
            self._held[location] = frame
            while self._bytes > self._max_bytes:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= len(dropped)


def read_series(
    frames: FrameReader,
    recipe: Recipe,
    series: Series,
    selection: Selection,
    *,
    size: int,
    cache: FrameCache,
    budget: Budget,
) -> Generator[Numbers, None, None]:
    """Yield the blocks of a slice along time, at least one: numbers (time, channel, ...) as they are stored.

    `size` is the artifact's, in bytes. What is yielded may be read-only. `budget` bounds what all slices decode at once.
    """
    with closing(_Slice(frames, recipe, series, selection, size=size, cache=cache)) as planned:
        while (step := planned.next_step()) is not None:
            with budget.taking(step.largest):
                numbers = step.block.numbers(planned.buffers(step))
            yield numbers


@dataclass(frozen=True, slots=True)
class _Step:
    """A block and the frames of each of its extents, under the keys by which they are held."""

    block: Block
    pieces: list[list[tuple[Piece, int]]]

    @property
    def largest(self) -> int:
        """Bytes that one extent takes, with its filters and without them, at the most."""
        return max((extent.stop - extent.start + extent.unfiltered for extent in self.block.extents), default=0)


class _Slice:
    """Fetches the frames of one slice in order, each once as long as a block or the next one needs it."""

    def __init__(
        self, frames: FrameReader, recipe: Recipe, series: Series, selection: Selection, *, size: int, cache: FrameCache
    ) -> None:
        self._frames, self._recipe, self._cache = frames, recipe, cache
        storage = series.storage
        self._chunks = storage.offsets if isinstance(storage, Chunked) and storage.filters else None
        self._offsets: NDArray[np.uint64] | None = None  # of all chunks in their order, sorted once they are needed
        self._what, self._size = f"series {series.info.name!r:.200}", size
        self._blocks = blocks(series, selection)
        self._planned: deque[_Step] = deque()
        self._wanted: deque[tuple[int, Piece]] = deque()
        self._fetching: deque[tuple[int, Location]] = deque()
        self._uses: Counter[int] = Counter()
        self._held: dict[int, Held] = {}
        self._keys = 0
        self._shared: dict[int, int] = {}
        locations = self._locations()
        self._stream: Iterator[bytes | memoryview | Unfiltered] = (
            frames.stream_elements(locations) if self._chunks is not None else frames.stream_soon(locations)
        )

    def close(self) -> None:
        """Let go of what is being fetched."""
        if close := getattr(self._stream, "close", None):
            close()

    def next_step(self) -> _Step | None:
        """Return the next block, having planned the one after it, so that frames which both need stay."""
        while len(self._planned) < 2 and self._plan():
            pass
        return self._planned.popleft() if self._planned else None

    def buffers(self, step: _Step) -> Iterator[bytes | memoryview]:
        """Yield the bytes of a block's extents without filters, in order."""
        for number, (extent, pieces) in enumerate(zip(step.block.extents, step.pieces, strict=True)):
            if len(pieces) == 1:
                piece, key = pieces[0]
                frame = self._frame(key)
                self._release(key)
                chunk = self._chunk(extent, piece, frame)
                yield step.block.unfilter(number, self._part(extent, piece, frame)) if chunk is None else chunk
            else:
                yield step.block.unfilter(number, self._joined(extent, pieces))

    def _joined(self, extent: Extent, pieces: list[tuple[Piece, int]]) -> memoryview:
        """Return an extent out of several frames: each is copied when it arrives, while others are decoded, and let go."""
        whole = np.empty(extent.stop - extent.start, np.uint8)
        for piece, key in pieces:
            frame = self._frame(key)
            self._release(key)
            start = max(piece.start - extent.start, 0)
            part = np.frombuffer(self._part(extent, piece, frame), np.uint8)
            whole[start : min(piece.stop, extent.stop) - extent.start] = part  # lets other threads work meanwhile
        return whole.data

    def _part(self, extent: Extent, piece: Piece, frame: Held) -> memoryview:
        """Return what a frame holds of an extent."""
        return self._original(frame, piece)[max(extent.start - piece.start, 0) : extent.stop - piece.start]

    def _chunk(self, extent: Extent, piece: Piece, frame: Held) -> memoryview | None:
        """Return a chunk without filters out of a frame that holds it so; `None` where it does not."""
        if self._chunks is None or not isinstance(frame, Unfiltered) or not _same(frame.filters, extent.filters):
            return None
        if self._offsets is None:
            self._offsets = np.sort(self._chunks, kind="stable")  # which is quick where they are in order already
        wanted = np.array([piece.start, extent.start, piece.stop], np.uint64)  # of their type, lest all be converted
        first, place, end = np.searchsorted(self._offsets, wanted).tolist()
        size = extent.unfiltered
        if (
            len(frame.chunks) != (end - first) * size
            or self._offsets[first] != piece.start
            or self._offsets[place] != extent.start
        ):
            return None  # the frame holds other chunks than the description says
        return frame.chunks[(place - first) * size : (place - first + 1) * size]

    def _original(self, frame: Held, piece: Piece) -> memoryview:
        if isinstance(frame, Unfiltered):
            return memoryview(self._frames.read(piece.location))
        return frame

    def _plan(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        shared: dict[int, int] = {}
        pieces = [[(piece, self._key(piece, shared)) for piece in self._pieces(extent)] for extent in block.extents]
        for found in pieces:
            for piece, key in found:
                if not self._uses[key]:
                    self._wanted.append((key, piece))
                self._uses[key] += 1
        self._shared = shared if len(shared) <= _MAX_SHARED_FRAMES else {}
        self._planned.append(_Step(block, pieces))
        return True

    def _key(self, piece: Piece, shared: dict[int, int]) -> int:
        """Return the number under which a frame is held: that of the block before, if it still holds it, else a new one."""
        key = shared.get(piece.start)
        if key is None:
            before = self._shared.get(piece.start)
            if before is not None and self._uses[before]:
                key = before
            else:
                self._keys += 1
                key = self._keys
            shared[piece.start] = key
        return key

    def _pieces(self, extent: Extent) -> Iterator[Piece]:
        if not 0 <= extent.start <= extent.stop <= self._size:
            raise Damaged(f"{self._what} lies outside its file, as its description says: restore the file whole")
        return self._recipe.pieces(extent.start, extent.stop)

    def _locations(self) -> Iterator[Location]:
        """Yield the frames to be fetched, planning blocks ahead as the fetching goes on."""
        while self._wanted or self._plan():
            while self._wanted:
                key, piece = self._wanted.popleft()
                found = self._cache.get(piece.location, unfiltered=self._chunks is not None)
                if found is not None:
                    self._held[key] = found
                else:
                    self._fetching.append((key, piece.location))
                    yield piece.location

    def _frame(self, key: int) -> Held:
        while key not in self._held:
            frame = next(self._stream, None)
            if frame is None:
                if key in self._held:  # found in the cache by the step that came to the end of the stream
                    break
                raise Damaged(f"the frames of {self._what} end early: restore the file whole")
            arrived, location = self._fetching.popleft()
            self._held[arrived] = frame if isinstance(frame, Unfiltered) else memoryview(frame).toreadonly()
            self._cache.put(location, self._held[arrived])
        return self._held[key]

    def _release(self, key: int) -> None:
        self._uses[key] -= 1
        if not self._uses[key]:
            del self._uses[key]
            self._held.pop(key, None)


def _same(undone: Sequence[Filter], applied: Sequence[Filter]) -> bool:
    """Tell whether the filters that a frame undoes are all that the file has; the level of deflate does not matter."""
    return [step.name for step in undone] == [step.name for step in applied] and all(
        ours.parameters == theirs.parameters for ours, theirs in zip(undone, applied, strict=True) if ours.parameters
    )
