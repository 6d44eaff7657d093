"""What a slice of a series is: its samples and channels, and the blocks along time in which it is read (SPEC.md section 9)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engram_format.array_type import Filter
from engram_format.errors import Exhausted, InvalidInput, NotFound
from engram_format.series import Description, Series, SeriesInfo

Numbers = NDArray[Any]

GAP_BYTES: Final = 128 * 1024
"""Elements further apart than this are in extents of their own: between closer ones lies nothing worth leaving out."""
_BLOCK_BYTES: Final = 8 * 2**20
_BYTES_OF_SCATTERED: Final = 2**19
_MAX_BLOCK_BYTES: Final = 64 * 2**20
_MAX_SAMPLE_BYTES: Final = 2**30
_MAX_EXTENTS: Final = 2**17


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Bytes `start` up to `stop` of the original."""

    start: int
    stop: int
    unfiltered: int = 0
    """Where the extent is one stored chunk with filters: its bytes before them; else 0."""
    filters: tuple[Filter, ...] = field(default=(), compare=False)
    """Those that were applied to that chunk, in their order."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Samples `start` up to `stop` and channels `first` up to `last` of a series; both lie in it."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def samples(self) -> int:
        """Count of samples."""
        return self.stop - self.start

    @property
    def channels(self) -> int:
        """Count of channels."""
        return self.last - self.first


class Block(Protocol):
    """Consecutive samples of a slice: the bytes that they need, and how these become numbers."""

    @property
    def extents(self) -> Sequence[Extent]:
        """What is needed of the original, in its order."""
        ...

    def unfilter(self, number: int, stored: bytes | memoryview) -> bytes | memoryview:
        """Return the bytes of an extent without the filters of the file, if it has any; raises `Damaged`."""
        ...

    def numbers(self, buffers: Iterable[bytes | memoryview]) -> Numbers:
        """Return the numbers (time, channel, ...), in native byte order, from the bytes of all extents without filters.

        The numbers may share memory with the buffers.
        """
        ...


def select(
    info: SeriesInfo, *, start: int = 0, stop: int | None = None, channels: tuple[int, int | None] | None = None
) -> Selection:
    """Return what a slice means for a series; raises `InvalidInput` where it does not lie in it, saying how long it is."""
    what = f"series {info.name!r:.200}"
    if not info.is_numeric:
        raise InvalidInput(f"{what} holds no numbers but elements of type {info.dtype}: open its file with h5py")
    end = info.samples if stop is None else stop
    if not 0 <= start <= end <= info.samples:
        raise InvalidInput(f"samples {start} to {end} do not lie in {what}: it has {length_of(info)}")
    count = channel_count(info)
    first, last = channels or (0, None)
    last = count if last is None else last
    if not 0 <= first <= last <= count:
        has = f"channels 0 up to {count}" if count > 1 else "one channel"
        raise InvalidInput(f"channels {first}:{last} do not lie in {what}: it has {has}")
    return Selection(start, end, first, last)


def channel_count(info: SeriesInfo) -> int:
    """Return the length of the axis after time; 1 where there is none."""
    return info.view_shape[1] if len(info.shape) > 1 else 1


def length_of(info: SeriesInfo) -> str:
    """Return a series' length for people: its samples and, where its rate is known, its seconds."""
    samples = f"{info.samples} sample{'' if info.samples == 1 else 's'}"
    if not info.sampling_rate:
        return samples
    begins = f" from {info.starting_time:.9g} s on" if info.starting_time else ""
    return f"{samples}, {info.samples / info.sampling_rate:.9g} s at {info.sampling_rate:.9g} Hz{begins}"


def find_series(description: Description, name: str, *, where: str) -> Series:
    """Return a series by name; raises `NotFound` with the names that look most alike."""
    for series in description.series:
        if series.info.name == name:
            return series
    raise no_such_series(name, [series.info.name for series in description.series], where=where)


def no_such_series(name: str, known: Sequence[str], *, where: str) -> NotFound:
    """Return the error that names the series most alike, or those that there are."""
    if not known:
        return NotFound(f"{where} holds no series: 'engram show' tells what is known of it")
    near = _nearest(name, known)
    told = f"did you mean {', '.join(map(repr, near))}?" if near else f"it has {_listed(known)}"
    return NotFound(f"{where} has no series {name!r:.200}: {told}")


def box(info: SeriesInfo, selection: Selection) -> tuple[list[int], list[int]]:
    """Return the first index and the count of a selection along each axis of the stored shape."""
    lows, counts = [0] * len(info.shape), list(info.shape)
    if info.shape:
        lows[info.time_axis], counts[info.time_axis] = selection.start, selection.samples
    if len(info.shape) > 1:
        channel = 1 if info.time_axis == 0 else 0
        lows[channel], counts[channel] = selection.first, selection.channels
    return lows, counts


def samples_of_block(
    info: SeriesInfo, selection: Selection, extents: Callable[[int], int], size: Callable[[int], int]
) -> int:
    """Return how many samples make a block, at least 1.

    A block has about 8 MiB, or 512 KiB for each extent if that is more, and never more than 64 MiB. `extents` and `size`
    say how many extents and bytes a number of samples needs. Raises `Exhausted` where one sample is too long to be held.
    """
    check_sample(info, size(1), extents=extents(1))
    count = max(selection.samples, 1)
    while count > 1:
        limit = min(max(_BLOCK_BYTES, extents(count) * _BYTES_OF_SCATTERED), _MAX_BLOCK_BYTES)
        needed = max(size(count), extents(count) * GAP_BYTES)
        if needed <= limit:
            break
        count = max(1, min(count - 1, count * limit // needed))
    return count


def check_sample(info: SeriesInfo, size: int, *, extents: int = 1) -> None:
    """Raise `Exhausted` where one sample of a slice takes more bytes or extents than may be held."""
    if size > _MAX_SAMPLE_BYTES or extents > _MAX_EXTENTS:
        takes = f"takes {size} bytes" if size > _MAX_SAMPLE_BYTES else f"lies in {extents} places"
        raise Exhausted(f"one sample of series {info.name!r:.200} {takes}: choose fewer channels")


def _nearest(wanted: str, known: Sequence[str]) -> list[str]:
    # Comparing costs the product of the lengths: no more than a person would look through is compared.
    short = [name for name in known if len(name) <= 256][:2000] if 0 < len(wanted) <= 256 else []
    within = [name for name in short if wanted.casefold() in name.casefold()]
    alike = difflib.get_close_matches(wanted, short, n=3, cutoff=0.5)
    return list(dict.fromkeys([*within, *alike]))[:3]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def native_dtype(text: str) -> np.dtype[Any]:
    """Return the type of the numbers in a slice: in native byte order, and 32 bits for the 24-bit integers."""
    if text[1:] in ("i3", "u3"):
        return np.dtype(np.int32 if text[1] == "i" else np.uint32)
    native: np.dtype[Any] = np.dtype(bool) if text[1:] == "b1" else np.dtype(text).newbyteorder("=")
    return native


def strided(
    buffer: bytes | memoryview, dtype: str, shape: tuple[int, ...], *, offset: int, strides: tuple[int, ...]
) -> Numbers:
    """Return the elements that lie `strides` bytes apart in a buffer, as numbers of `native_dtype`."""
    if dtype[1:] in ("i3", "u3"):
        raw: NDArray[np.uint8] = np.ndarray((*shape, 3), np.uint8, buffer, offset, (*strides, 1))
        return _widened(raw, dtype)
    if dtype[1:] == "b1":
        bits: NDArray[np.uint8] = np.ndarray(shape, np.uint8, buffer, offset, strides)
        truths: Numbers = bits != 0  # numpy does not expect a truth value of any other byte than 0 and 1
        return truths
    held: Numbers = np.ndarray(shape, np.dtype(dtype), buffer, offset, strides)
    numbers: Numbers = held.astype(native_dtype(dtype), copy=False)
    return numbers


def _widened(raw: NDArray[np.uint8], dtype: str) -> Numbers:
    """Return 24-bit integers, whose bytes lie along the last axis, as 32-bit ones."""
    low, middle, high = (2, 1, 0) if dtype[0] == ">" else (0, 1, 2)
    wide = np.zeros((*raw.shape[:-1], 4), np.uint8)
    # The bytes go to the top of the word, from where a shift brings them down with their sign.
    wide[..., 1], wide[..., 2], wide[..., 3] = raw[..., low], raw[..., middle], raw[..., high]
    words = wide.view("<u4")[..., 0].astype(np.uint32, copy=False)
    shifted: Numbers = words.view(np.int32) >> 8 if dtype[1] == "i" else words >> 8
    return shifted
