"""Slices of series that lie in HDF5's chunks: only the chunks that a slice touches are needed (SPEC.md section 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_format.errors import Exhausted
from engram_format.hdf5_filters import check_filters, unfilter
from engram_format.selection import Extent, Numbers, Selection, box, check_sample, native_dtype, strided
from engram_format.series import NO_CHUNK, Chunked, SeriesInfo

_BLOCK_BYTES: Final = 8 * 2**20
_MAX_BLOCK_BYTES: Final = 64 * 2**20
_MAX_CHUNK_BYTES: Final = 2**27
"""A longer chunk is not inflated here: a short file may hold gigabytes, and a service answers many."""


@dataclass(frozen=True, slots=True)
class ChunkBox:
    """The part of a slice that some chunks hold; those that are not stored are the fill value."""

    info: SeriesInfo
    storage: Chunked
    lows: tuple[int, ...]
    counts: tuple[int, ...]
    cells: tuple[tuple[int, ...], ...]
    """Place in the grid of each stored chunk, in the order of the extents."""
    masks: tuple[int, ...]
    extents: tuple[Extent, ...]

    def unfilter(self, number: int, stored: bytes | memoryview) -> bytes | memoryview:
        """Return the bytes of a chunk before its filters; raises `Damaged`."""
        return unfilter(
            stored,
            self.storage.filters,
            mask=self.masks[number],
            size=math.prod(self.storage.chunk) * self.info.item_bytes,
            item=self.info.item_bytes,
            what=f"series {self.info.name!r:.200}",
        )

    def numbers(self, buffers: Iterable[bytes | memoryview]) -> Numbers:
        """Return the numbers, time first."""
        info, chunk = self.info, self.storage.chunk
        found = np.empty(self.counts, native_dtype(info.dtype))
        if len(self.cells) < math.prod(self._cells_touched()):
            fill = self.storage.fill or bytes(info.item_bytes)
            found[...] = strided(fill, info.dtype, (), offset=0, strides=())
        strides = tuple(info.item_bytes * math.prod(chunk[axis + 1 :]) for axis in range(len(chunk)))
        for cell, buffer in zip(self.cells, buffers, strict=True):
            source, target, offset = [], [], 0
            for axis, number in enumerate(cell):
                origin = number * chunk[axis]
                first = max(self.lows[axis], origin)
                last = min(self.lows[axis] + self.counts[axis], origin + chunk[axis])
                source.append(last - first)
                target.append(slice(first - self.lows[axis], last - self.lows[axis]))
                offset += (first - origin) * strides[axis]
            found[tuple(target)] = strided(buffer, info.dtype, tuple(source), offset=offset, strides=strides)
        return np.moveaxis(found, info.time_axis, 0) if self.counts else found.reshape(1)

    def _cells_touched(self) -> list[int]:
        return [
            (low + count - 1) // step - low // step + 1 if count else 0
            for low, count, step in zip(self.lows, self.counts, self.storage.chunk, strict=True)
        ]


def chunked(info: SeriesInfo, storage: Chunked, selection: Selection) -> Iterator[ChunkBox]:
    """Yield the blocks of a slice of a series in chunks; their borders along time are those of the chunks.

    Raises `InvalidInput` if a filter is not known, and `Exhausted` if one chunk is too long to be held.
    """
    what = f"series {info.name!r:.200}"
    check_filters(storage.filters, what=what)
    size = math.prod(storage.chunk) * info.item_bytes
    if size > _MAX_CHUNK_BYTES:
        raise Exhausted(
            f"one chunk of {what} takes {size} bytes: read it through '.open()' with h5py, or restore the file"
        )
    lows, counts = box(info, selection)
    if not info.shape or 0 in counts:
        yield _box(info, storage, lows, counts)
        return
    time, step = info.time_axis, storage.chunk[info.time_axis]
    across = math.prod(
        (low + count - 1) // length - low // length + 1
        for axis, (low, count, length) in enumerate(zip(lows, counts, storage.chunk, strict=True))
        if axis != time
    )
    step *= max(1, _BLOCK_BYTES // (across * size))
    sample = info.item_bytes * math.prod(count for axis, count in enumerate(counts) if axis != time)
    check_sample(info, sample, extents=across)
    step = max(1, min(step, _MAX_BLOCK_BYTES // sample))  # very long chunks are decoded again for each of their blocks
    stop = selection.start
    while stop < selection.stop:
        lows[time], stop = stop, min((stop // step + 1) * step, selection.stop)
        counts[time] = stop - lows[time]
        yield _box(info, storage, lows, counts)


def _box(info: SeriesInfo, storage: Chunked, lows: list[int], counts: list[int]) -> ChunkBox:
    """Find the stored chunks that a box of elements touches, in the order in which they lie in the file."""
    grid = tuple(-(-size // step) for size, step in zip(info.shape, storage.chunk, strict=True))
    touched = [
        np.arange(low // step, (low + count - 1) // step + 1) if count else np.empty(0, np.int64)
        for low, count, step in zip(lows, counts, storage.chunk, strict=True)
    ]
    numbers = np.zeros(1, np.int64)
    for axis, cells in enumerate(touched):
        numbers = (numbers[:, None] * grid[axis] + cells).reshape(-1)
    numbers = numbers[storage.offsets[numbers] != np.uint64(NO_CHUNK)] if len(numbers) else numbers
    numbers = numbers[np.argsort(storage.offsets[numbers], kind="stable")]
    places = np.stack(np.unravel_index(numbers, grid), axis=-1).tolist() if grid else [()] * len(numbers)
    starts, sizes = storage.offsets[numbers].tolist(), storage.sizes[numbers].tolist()
    masks = [0] * len(numbers) if storage.masks is None else storage.masks[numbers].tolist()
    unfiltered = math.prod(storage.chunk) * info.item_bytes if storage.filters else 0
    applied = {
        mask: tuple(step for bit, step in enumerate(storage.filters) if not mask >> bit & 1) for mask in set(masks)
    }
    return ChunkBox(
        info,
        storage,
        tuple(lows),
        tuple(counts),
        tuple(tuple(place) for place in places),
        tuple(masks),
        tuple(
            Extent(start, start + size, unfiltered, applied[mask])
            for start, size, mask in zip(starts, sizes, masks, strict=True)
        ),
    )
