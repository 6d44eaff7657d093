"""The segments of the arrays of an HDF5 file: runs of bytes of one array that a deposit encodes by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Final

import numpy as np

from engram_format.array_type import ArrayType, Filter
from engram_format.series import NO_CHUNK, Chunked, Contiguous
from engram_layout.hdf5_stored import StoredArray, all_masked, masks_of
from engram_layout.plan import ArraySegment

MIN_SEGMENT_BYTES: Final = 2048
"""Shorter runs stay opaque: to describe them costs what they save."""

_RECODABLE: Final = frozenset({(), ("shuffle",), ("deflate",), ("shuffle", "deflate")})
"""What a deposit can undo and do again, bit for bit."""


def array_segments(
    arrays: Sequence[StoredArray], *, time_axes: Mapping[str, int], at_most: int
) -> tuple[list[ArraySegment], tuple[ArrayType, ...]]:
    """Return the segments of settled arrays, the largest if there are more than `at_most`, and their table of arrays.

    `time_axes` names the axis of time by path, where it is not the first.
    """
    table: dict[ArrayType, int] = {}
    segments: list[ArraySegment] = []
    for array in arrays:
        segments += _segments_of(array, time_axis=time_axes.get(array.path, 0), table=table)
    if len(segments) > at_most:
        segments = sorted(segments, key=lambda segment: segment.length, reverse=True)[:at_most]
    used = {number: rank for rank, number in enumerate(sorted({segment.array for segment in segments}))}
    types = tuple(array_type for array_type, number in table.items() if number in used)
    return [replace(segment, array=used[segment.array]) for segment in segments], types


def _segments_of(array: StoredArray, *, time_axis: int, table: dict[ArrayType, int]) -> list[ArraySegment]:
    match array.storage:
        case Contiguous(offset):
            if array.nbytes < MIN_SEGMENT_BYTES:
                return []
            kind = _array_type(array, array.shape, time_axis=time_axis, filters=())
            return [ArraySegment(offset, array.nbytes, table.setdefault(kind, len(table)))]
        case Chunked() as storage:
            return _runs(array, storage, time_axis=time_axis, table=table)


def _runs(array: StoredArray, storage: Chunked, *, time_axis: int, table: dict[ArrayType, int]) -> list[ArraySegment]:
    """Join chunks that lie side by side in the file, if the same filters were applied to them."""
    stored = np.flatnonzero(storage.offsets != NO_CHUNK)
    if not len(stored) or prod(storage.chunk) * array.item >= 2**32:
        return []
    stored = stored[np.argsort(storage.offsets[stored], kind="stable")]
    begins, sizes = storage.offsets[stored].astype(np.int64), storage.sizes[stored]
    masks = masks_of(storage)[stored] & np.uint32(all_masked(storage))
    ends = begins + sizes
    breaks = np.flatnonzero((begins[1:] != ends[:-1]) | (masks[1:] != masks[:-1])) + 1
    segments: list[ArraySegment] = []
    for first, stop in zip([0, *breaks.tolist()], [*breaks.tolist(), len(stored)], strict=True):
        length = int(ends[stop - 1] - begins[first])
        applied = tuple(step for bit, step in enumerate(storage.filters) if not int(masks[first]) >> bit & 1)
        if length < MIN_SEGMENT_BYTES or tuple(step.name for step in applied) not in _RECODABLE:
            continue
        kind = _array_type(array, storage.chunk, time_axis=time_axis, filters=applied)
        pieces = sizes[first:stop].copy() if applied else np.empty(0, np.uint32)
        segments.append(ArraySegment(int(begins[first]), length, table.setdefault(kind, len(table)), pieces))
    return segments


def _array_type(array: StoredArray, box: tuple[int, ...], *, time_axis: int, filters: tuple[Filter, ...]) -> ArrayType:
    """Describe elements that lie in C order of `box`: the whole array, or one chunk."""
    lag = prod(box[time_axis + 1 :])
    lag = lag if 1 <= lag * array.item < 2**32 else 1
    chunk = prod(box) * array.item if filters else 0
    # Chunks are cut between chunks only; a row is there for the codecs, and of channels one under the other that of one channel.
    across = box[-1] if filters and lag == 1 and len(box) > 1 else lag
    row = across if across * array.item < 2**32 else lag
    return ArrayType(array.path[:1000], array.dtype, lag, row * array.item, filters, chunk)
