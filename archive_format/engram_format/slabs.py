"""Slices of series whose elements lie at regular distances: in C order, or in blocks of samples (SPEC.md section 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engram_format.errors import FormatError
from engram_format.selection import (
    GAP_BYTES,
    Extent,
    Numbers,
    Selection,
    box,
    native_dtype,
    samples_of_block,
    strided,
)
from engram_format.series import Blocks, Contiguous, SeriesInfo


@dataclass(frozen=True, slots=True)
class Slab:
    """A box of elements in C order. The first `outer` axes are walked, each step with an extent of its own."""

    dtype: str
    counts: tuple[int, ...]
    strides: tuple[int, ...]
    outer: int
    time_axis: int
    extents: tuple[Extent, ...]

    def unfilter(self, number: int, stored: bytes | memoryview) -> bytes | memoryview:
        """Return the bytes as they are."""
        return stored

    def numbers(self, buffers: Iterable[bytes | memoryview]) -> Numbers:
        """Return the numbers, time first."""
        counts, strides = self.counts[self.outer :], self.strides[self.outer :]
        parts = (strided(buffer, self.dtype, counts, offset=0, strides=strides) for buffer in buffers)
        if 0 in self.counts:
            found = np.empty(self.counts, native_dtype(self.dtype))
        elif self.outer == 0:
            found = next(iter(parts))
        else:
            found = np.empty((len(self.extents), *counts), native_dtype(self.dtype))
            for number, part in enumerate(parts):
                found[number] = part
            found = found.reshape(self.counts)
        return np.moveaxis(found, self.time_axis, 0) if self.counts else found.reshape(1)


def contiguous(info: SeriesInfo, storage: Contiguous, selection: Selection) -> Iterator[Slab]:
    """Yield the blocks of a slice of a series in C order."""
    strides = tuple(info.item_bytes * math.prod(info.shape[axis + 1 :]) for axis in range(len(info.shape)))
    lows, counts = box(info, selection)

    def shape(samples: int) -> list[int]:
        return [samples if axis == info.time_axis else count for axis, count in enumerate(counts)]

    def walked(samples: int) -> int:
        return _outer(shape(samples), strides, item=info.item_bytes)

    def extents(samples: int) -> int:
        return math.prod(shape(samples)[: walked(samples)])

    def size(samples: int) -> int:
        outer = walked(samples)
        return extents(samples) * _reach(shape(samples)[outer:], strides[outer:], item=info.item_bytes)

    def slab(start: int, samples: int) -> Slab:
        chosen, outer = tuple(shape(samples)), walked(samples)
        firsts = [start if axis == info.time_axis else low for axis, low in enumerate(lows)]
        origins = np.array(
            [storage.offset + sum(first * stride for first, stride in zip(firsts, strides, strict=True))], np.int64
        )
        for axis in range(outer):
            origins = (origins[:, None] + np.arange(chosen[axis]) * strides[axis]).reshape(-1)
        reach = _reach(chosen[outer:], strides[outer:], item=info.item_bytes)
        needed = () if 0 in chosen else tuple(Extent(at, at + reach) for at in origins.tolist())
        return Slab(info.dtype, chosen, strides, outer, info.time_axis, needed)

    if storage.offset + info.item_bytes * math.prod(info.shape) >= 2**63:
        raise FormatError(f"series {info.name!r:.200} lies where no file reaches")
    if not info.shape or 0 in counts:
        yield slab(selection.start, selection.samples)
        return
    step = samples_of_block(info, selection, extents, size)
    for start in range(selection.start, selection.stop, step):
        yield slab(start, min(step, selection.stop - start))


def _outer(counts: Sequence[int], strides: Sequence[int], *, item: int) -> int:
    """Return how many of the first axes are walked, because their steps leave out long runs of bytes."""
    outer = 0
    for axis, (count, stride) in enumerate(zip(counts, strides, strict=True)):
        if count > 1 and stride - _reach(counts[axis + 1 :], strides[axis + 1 :], item=item) > GAP_BYTES:
            outer = axis + 1
    return outer


def _reach(counts: Sequence[int], strides: Sequence[int], *, item: int) -> int:
    """Return the bytes from the first element of a box to the end of its last."""
    return item + sum((count - 1) * stride for count, stride in zip(counts, strides, strict=True))


@dataclass(frozen=True, slots=True)
class _Lane:
    """Channels side by side, `step` bytes apart, in an extent of theirs: `blocks` blocks with `samples` samples each."""

    extent: int
    offset: int
    blocks: int
    samples: int
    time: int
    """Index of the first sample in the slice's block."""
    channel: int
    channels: int
    step: int


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Samples of channels in blocks of equal length."""

    dtype: str
    shape: tuple[int, int]
    block_bytes: int
    stride: int
    lanes: tuple[_Lane, ...]
    extents: tuple[Extent, ...]
    flat: bool
    """Whether the series has no axis of channels."""

    def unfilter(self, number: int, stored: bytes | memoryview) -> bytes | memoryview:
        """Return the bytes as they are."""
        return stored

    def numbers(self, buffers: Iterable[bytes | memoryview]) -> Numbers:
        """Return the numbers (time, channel), or (time,) of a series that has no axis of channels."""
        found: Numbers | None = None
        lanes = iter(sorted(self.lanes, key=lambda lane: lane.extent))
        lane = next(lanes, None)
        for number, buffer in enumerate(buffers):
            while lane is not None and lane.extent == number:
                part = strided(
                    buffer,
                    self.dtype,
                    (lane.blocks, lane.samples, lane.channels),
                    offset=lane.offset,
                    strides=(self.block_bytes, self.stride, lane.step),
                )
                samples = lane.blocks * lane.samples
                if (samples, lane.channels) == self.shape:
                    found = part[0] if lane.blocks == 1 else part.reshape(self.shape)
                else:
                    found = np.empty(self.shape, native_dtype(self.dtype)) if found is None else found
                    place = found[lane.time : lane.time + samples, lane.channel : lane.channel + lane.channels]
                    place[...] = part.reshape(samples, lane.channels)
                lane = next(lanes, None)
        found = np.empty(self.shape, native_dtype(self.dtype)) if found is None else found
        return found[:, 0] if self.flat else found


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive blocks of the file of which the same samples are wanted."""

    first: int
    blocks: int
    skip: int
    samples: int
    time: int


@dataclass(frozen=True, slots=True)
class _Group:
    """Channels that lie close together in a block; `low` and `high` bound their bytes there, for one sample."""

    low: int
    high: int
    lanes: tuple[tuple[int, int, int, int], ...]
    """(first channel, channels, offset of the first, bytes from one to the next)"""

    def reach(self, samples: int, *, stride: int) -> int:
        return self.high - self.low + (samples - 1) * stride


def interleaved(info: SeriesInfo, storage: Blocks, selection: Selection) -> Iterator[Interleaved]:
    """Yield the blocks of a slice of a series whose samples lie in blocks."""
    if storage.block_samples == 1:  # samples side by side are one long block
        storage = Blocks(storage.offset, 0, max(info.samples, 1), storage.block_bytes, storage.channels)
    chosen = storage.channels[selection.first : selection.last]
    flat = len(info.shape) == 1
    if not chosen or not selection.samples:
        yield Interleaved(info.dtype, (selection.samples, len(chosen)), 0, 0, (), (), flat)
        return
    run = min(storage.block_samples, selection.samples)
    groups = _groups(chosen, reach=(run - 1) * storage.stride, item=info.item_bytes)

    def spans(samples: int) -> int:
        count = -(-samples // storage.block_samples)
        return sum(1 if _joins(group, storage, blocks=count) else count for group in groups)

    def size(samples: int) -> int:
        count = -(-samples // storage.block_samples)
        held = min(samples, storage.block_samples)
        return sum(
            group.reach(held, stride=storage.stride) * (1 if _joins(group, storage, blocks=count) else count)
            + (storage.block_bytes * (count - 1) if _joins(group, storage, blocks=count) else 0)
            for group in groups
        )

    step = samples_of_block(info, selection, spans, size)
    if step > storage.block_samples:
        step -= step % storage.block_samples
    for start in range(selection.start, selection.stop, step):
        count = min(step, selection.stop - start)
        lanes, extents = _lanes(storage, groups, list(_runs(start, count, storage.block_samples)))
        yield Interleaved(info.dtype, (count, len(chosen)), storage.block_bytes, storage.stride, lanes, extents, flat)


def _groups(starts: Sequence[int], *, reach: int, item: int) -> list[_Group]:
    """Join channels whose bytes in a block lie close together."""
    order = sorted(range(len(starts)), key=lambda channel: starts[channel])
    cuts = [
        number for number, (a, b) in enumerate(pairwise(order), 1) if starts[b] - starts[a] - reach - item > GAP_BYTES
    ]
    groups = []
    for first, last in pairwise([0, *cuts, len(order)]):
        members = order[first:last]
        low, high = starts[members[0]], starts[members[-1]] + item
        groups.append(_Group(low, high, tuple(_regular(starts, sorted(members)))))
    return groups


def _regular(starts: Sequence[int], members: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield runs of neighbouring channels whose starts are equally far apart."""
    at = 0
    while at < len(members):
        end, step = at + 1, 0
        while end < len(members) and members[end] == members[end - 1] + 1:
            width = starts[members[end]] - starts[members[end - 1]]
            if end > at + 1 and width != step:
                break
            step, end = width, end + 1
        yield members[at], end - at, starts[members[at]], step
        at = end


def _joins(group: _Group, storage: Blocks, *, blocks: int) -> bool:
    """Tell whether a group's bytes in several blocks are one extent."""
    whole = group.reach(storage.block_samples, stride=storage.stride)
    return blocks == 1 or storage.block_bytes - whole <= GAP_BYTES


def _runs(start: int, samples: int, block_samples: int) -> Iterator[_Run]:
    """Cut samples into a part of a block, whole blocks, and a part of a block."""
    time = 0
    while time < samples:
        block, skip = divmod(start + time, block_samples)
        held = min(block_samples - skip, samples - time)
        blocks = (samples - time) // block_samples if held == block_samples else 1
        yield _Run(block, blocks, skip, held, time)
        time += blocks * held


def _lanes(
    storage: Blocks, groups: Sequence[_Group], runs: Sequence[_Run]
) -> tuple[tuple[_Lane, ...], tuple[Extent, ...]]:
    """Return the extents that hold some samples, in order, and where in them each channel's are."""
    blocks = sum(run.blocks for run in runs)
    found: list[tuple[Extent, _Group, list[_Run]]] = []
    for group in groups:
        if _joins(group, storage, blocks=blocks):
            found.append((_extent(storage, group, runs), group, list(runs)))
        else:
            alone = [
                _Run(run.first + n, 1, run.skip, run.samples, run.time + n * run.samples)
                for run in runs
                for n in range(run.blocks)
            ]
            found.extend((_extent(storage, group, [run]), group, [run]) for run in alone)
    found.sort(key=lambda item: item[0])
    lanes = [
        _Lane(
            number,
            _low(storage, group, run) - extent.start + at - group.low,
            run.blocks,
            run.samples,
            run.time,
            channel,
            channels,
            step,
        )
        for number, (extent, group, held) in enumerate(found)
        for run in held
        for channel, channels, at, step in group.lanes
    ]
    return tuple(lanes), tuple(extent for extent, _, _ in found)


def _low(storage: Blocks, group: _Group, run: _Run) -> int:
    """Return where the first byte of a group in a run of blocks is, in the original."""
    return storage.offset + run.first * storage.block_bytes + run.skip * storage.stride + group.low


def _extent(storage: Blocks, group: _Group, runs: Sequence[_Run]) -> Extent:
    """Return the bytes that hold a group in all the runs."""
    lows = [_low(storage, group, run) for run in runs]
    highs = [
        low + group.reach(run.samples, stride=storage.stride) + (run.blocks - 1) * storage.block_bytes
        for low, run in zip(lows, runs, strict=True)
    ]
    return Extent(min(lows), max(highs))
