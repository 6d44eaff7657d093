"""Numbers of a series from the bytes of its file, by the words of SPEC.md section 9 alone, and what every plan must keep."""

from __future__ import annotations

import io
import math
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engram_format.series import Blocks, Contiguous, Series
from engram_layout import Planned
from engram_layout.header import Planner

NOWHERE = Path("/nonexistent/recording")


def plan_bytes(planner: Planner, data: bytes, path: Path = NOWHERE) -> Planned:
    """Plan a file that has these bytes."""
    return planner(io.BytesIO(data), size=len(data), path=path)


def series_of(planned: Planned) -> dict[str, Series]:
    description = planned.plan.description
    return {series.info.name: series for series in description.series} if description else {}


def byte_positions(series: Series) -> NDArray[np.int64]:
    """The first byte of each element, in the series' shape."""
    shape, item = series.info.shape, series.info.item_bytes
    match series.storage:
        case Contiguous(offset):
            return offset + item * np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        case Blocks(offset, block_bytes, block_samples, stride, channels):
            time = np.arange(shape[0], dtype=np.int64)[:, None]
            starts = np.asarray(channels, np.int64)[None]
            return (offset + time // block_samples * block_bytes + starts + time % block_samples * stride).reshape(
                shape
            )
        case other:
            raise AssertionError(other)


def numbers(data: bytes, series: Series) -> NDArray[np.generic]:
    """The numbers as they are stored, in the series' shape."""
    positions, item, dtype = byte_positions(series), series.info.item_bytes, series.info.dtype
    if positions.size == 0:
        return np.empty(series.info.shape, dtype)
    assert int(positions.max()) + item <= len(data)
    raw = np.frombuffer(data, np.uint8)[positions[..., None] + np.arange(item)]
    if item == 3:
        raw = raw[..., ::-1] if dtype[0] == "<" else raw
        value = raw[..., 0].astype(np.int32) << 16 | raw[..., 1].astype(np.int32) << 8 | raw[..., 2]
        return value - (value >> 23 << 24)
    return np.ascontiguousarray(raw).view(dtype)[..., 0]


def physical(data: bytes, series: Series) -> NDArray[np.float64]:
    """The values in the series' unit."""
    info = series.info
    scaled = numbers(data, series).astype(np.float64) * info.conversion * np.asarray(info.channel_conversion or 1.0)
    return scaled + np.asarray(info.channel_offset or info.offset)


def check_planned(planned: Planned, *, size: int) -> None:
    """Whatever the bytes were: the plan covers them, can be stored, and says nothing of bytes that are not there."""
    assert planned.plan.size == size
    again = Planned.from_bytes(planned.to_bytes())
    assert again.metadata == planned.metadata
    assert again.warnings == planned.warnings
    for value in planned.metadata.values():
        assert not isinstance(value, float) or math.isfinite(value)
    for series in series_of(planned).values():
        info = series.info
        finite = (info.sampling_rate, info.starting_time, info.conversion, info.offset)
        assert all(map(math.isfinite, (*finite, *info.channel_conversion, *info.channel_offset)))
        assert info.sampling_rate >= 0
        assert all(info.conversion * scale for scale in info.channel_conversion or (1.0,))
        assert not info.channels or len(info.channels) == info.shape[-1]
        _check_extent(series, size=size)


def _check_extent(series: Series, *, size: int) -> None:
    item = series.info.item_bytes
    match series.storage:
        case Contiguous(offset):
            assert offset + math.prod(series.info.shape) * item <= size
        case Blocks(offset, block_bytes, block_samples, stride, channels):
            last = series.info.shape[0] - 1
            end = offset + last // block_samples * block_bytes + max(channels) + last % block_samples * stride + item
            assert last >= 0
            assert end <= size
        case other:
            raise AssertionError(other)


def mutations(header: bytes, count: int, *, seed: int = 3) -> list[bytes]:
    """`count` headers with a few bytes changed, swapped, removed or repeated, always the same ones."""
    draw = random.Random(seed)
    return [_mutated(bytearray(header), draw) for _ in range(count)]


def _mutated(header: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(max(len(header), 1))
        match draw.randrange(5):
            case 0:
                header[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                header[at : at + 1] = bytes([draw.choice(b"0123456789-+. eExX\x00\xff\x7f\x80")])
            case 2:
                header[at : at + draw.choice((1, 2, 4, 8))] = draw.choice(
                    (bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\x80\x7f")
                )
            case 3:
                del header[at : at + draw.choice((1, 2, 8, 100))]
            case _:
                header[at:at] = header[at : at + draw.choice((1, 4, 16, 256))]
    return bytes(header)


def fuzz(
    planner: Planner, data: bytes, *, header_bytes: int, count: int = 2000, path: Path = NOWHERE
) -> dict[str, int]:
    """Plan the file with `count` mutated headers; every plan is checked; return how many were opaque and how many not."""
    outcomes = {"opaque": 0, "described": 0}
    tail = data[header_bytes:]
    for header in mutations(data[:header_bytes], count):
        planned = plan_bytes(planner, header + tail, path)
        check_planned(planned, size=len(header) + len(tail))
        if planned.plan.description is None:
            assert planned.plan.arrays == ()
            assert planned.warnings
        outcomes["opaque" if planned.plan.description is None else "described"] += 1
    return outcomes
