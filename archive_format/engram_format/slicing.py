"""Slices of a series: from samples and channels to ranges of the original bytes, and from these bytes to numbers.

Pure: a reader asks for the blocks of a slice, fetches the extents of each, and hands their bytes back (SPEC.md section 9).
Where the elements of a slice lie close together, the bytes between them are part of its extent, for they lie in the same
frames; where they lie far apart, each run is an extent of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.chunk_grid import chunked
from engram_format.errors import FormatError
from engram_format.selection import (
    Block,
    Extent,
    Numbers,
    Selection,
    channel_count,
    find_series,
    length_of,
    native_dtype,
    no_such_series,
    select,
)
from engram_format.series import Blocks, Chunked, Contiguous, Series, SeriesInfo
from engram_format.slabs import contiguous, interleaved

_MOST_BYTES: Final = 2**62
"""Not even an empty array may have axes whose product, in bytes, does not fit a number of the machine."""


def blocks(series: Series, selection: Selection) -> Iterator[Block]:
    """Yield the blocks of a slice along time, at least one; they are bounded so that each may be held.

    Raises `Exhausted` where one sample or one chunk is too long for that, and `InvalidInput` for filters not known here.
    """
    info = series.info
    if info.item_bytes * math.prod(max(size, 1) for size in info.shape) >= _MOST_BYTES:
        raise FormatError(f"series {info.name!r:.200} is longer than any file: restore the file whole")
    match series.storage:
        case Contiguous():
            yield from contiguous(series.info, series.storage, selection)
        case Blocks():
            yield from interleaved(series.info, series.storage, selection)
        case Chunked():
            yield from chunked(series.info, series.storage, selection)


def physical(info: SeriesInfo, numbers: Numbers, channels: tuple[int, int]) -> Numbers:
    """Return physical values, in `info.unit`, of a block (time, channel, ...) that has these channels of the series.

    They are float64, or complex128 where the numbers are complex.
    """
    factor = _by_channel(info, info.channel_conversion, channels, ndim=numbers.ndim)
    added = _by_channel(info, info.channel_offset, channels, ndim=numbers.ndim)
    with np.errstate(all="ignore"):  # what is not finite stays so: a signalling NaN is no reason to speak up
        values: Numbers = numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)
        values *= info.conversion if factor is None else info.conversion * factor
        values += info.offset if added is None else added
    return values


def _by_channel(
    info: SeriesInfo, values: tuple[float, ...], channels: tuple[int, int], *, ndim: int
) -> NDArray[np.float64] | None:
    if not values:
        return None
    if len(values) != channel_count(info):
        raise FormatError(f"series {info.name!r:.200} has {len(values)} factors or offsets, not one for each channel")
    chosen = np.array(values[slice(*channels)], np.float64)
    return chosen.reshape((1, -1) + (1,) * (ndim - 2)) if ndim > 1 else chosen


__all__ = [
    "Block",
    "Extent",
    "Numbers",
    "Selection",
    "blocks",
    "channel_count",
    "find_series",
    "length_of",
    "native_dtype",
    "no_such_series",
    "physical",
    "select",
]
