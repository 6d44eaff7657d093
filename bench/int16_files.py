"""Recordings of int16 samples: as the planners find them in files, and as arrays (time, channel)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_files import files_in

from engram_format import slicing
from engram_format.array_type import ArrayType
from engram_layout.plan import ArraySegment, Plan

Samples = NDArray[np.int16]

_INT16 = "<i2"
_LEAST_SAMPLES = 10_000


@dataclass(frozen=True)
class Recording:
    """The int16 samples of one file."""

    name: str
    array: ArrayType
    raw: bytes
    """The samples as they lie in the file, of all its series."""
    parts: tuple[Samples, ...]
    """The same samples: each (time, channel), series of as many channels one behind the other."""


def recordings(files: list[Path], folders: list[Path]) -> Iterator[Recording]:
    """Yield the recordings of the files and of those below the folders that have any."""
    for path in [*files, *files_in(folders)]:
        found = _recording(path)
        if found is not None:
            yield found


def _recording(path: Path) -> Recording | None:
    plan = plan_of(path)
    data = path.read_bytes()
    held: dict[int, list[bytes]] = defaultdict(list)
    for segment in plan.segments:
        if isinstance(segment, ArraySegment) and plan.arrays[segment.array].dtype == _INT16 and not len(segment.pieces):
            held[segment.array].append(data[segment.offset : segment.stop])
    if plan.description is None or not held:
        return None
    array = max(held, key=lambda number: sum(map(len, held[number])))
    by_channels: dict[int, list[Samples]] = defaultdict(list)
    for series in plan.description.series:
        if series.info.dtype == _INT16:
            for block in slicing.blocks(series, slicing.select(series.info)):
                numbers = block.numbers([data[extent.start : extent.stop] for extent in block.extents])
                by_channels[numbers.shape[1] if numbers.ndim > 1 else 1].append(numbers.reshape(len(numbers), -1))
    parts = tuple(np.ascontiguousarray(np.concatenate(found)) for found in by_channels.values())
    if sum(part.size for part in parts) < _LEAST_SAMPLES:
        return None
    return Recording(path.name, plan.arrays[array], b"".join(held[array]), parts)
