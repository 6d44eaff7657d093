"""Recordings of int16 samples: as a deposit cuts them out of their files, and as arrays (time, channel)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engram_format import slicing
from engram_format.array_type import ArrayType
from engram_format.chunking import Chunker
from engram_format.series import Blocks, Description, Series
from engram_layout import HEAD_BYTES
from engram_layout.sandbox import PlannerProcess
from engram_store.cutting import Cutter

Samples = NDArray[np.int16]

_INT16 = "<i2"
_LEAST_SAMPLES = 10_000


@dataclass(frozen=True)
class Recording:
    """The int16 samples of one file."""

    name: str
    frames: tuple[tuple[ArrayType, bytes], ...]
    """The samples as they lie in the file: the original of each frame of a deposit."""
    parts: tuple[Samples, ...]
    """The same samples: each (time, channel)."""

    @property
    def bytes_in_file(self) -> int:
        """Bytes of all frames."""
        return sum(len(frame) for _, frame in self.frames)


def recordings(files: list[Path]) -> Iterator[Recording]:
    """Yield the recordings of those files that have any which the file does not compress itself."""
    with PlannerProcess() as planner:
        for path in files:
            data = path.read_bytes()
            plan = planner.plan(path, size=len(data), head=data[:HEAD_BYTES]).plan
            pieces = Cutter(plan, Chunker(seed=0)).feed(data)
            typed = [(plan.arrays[piece.array], piece.data) for piece in pieces if piece.array is not None]
            frames = tuple(frame for frame in typed if frame[0].dtype == _INT16 and not frame[0].filters)
            parts = () if plan.description is None else _parts(plan.description, data)
            if frames and sum(part.size for part in parts) >= _LEAST_SAMPLES:
                yield Recording(path.name, frames, parts)


def _parts(description: Description, data: bytes) -> tuple[Samples, ...]:
    """Join series that lie interleaved, such as those of two units, by their channels, and others of as many channels in time."""
    interleaved: dict[object, list[Samples]] = defaultdict(list)
    for number, series in enumerate(description.series):
        if series.info.dtype == _INT16:
            match series.storage:
                case Blocks(offset, block_bytes, block_samples, stride, _):
                    interleaved[offset, block_bytes, block_samples, stride].append(_samples(series, data))
                case _:
                    interleaved[number].append(_samples(series, data))
    by_channels: dict[int, list[Samples]] = defaultdict(list)
    for found in interleaved.values():
        whole = np.concatenate(found, axis=1)
        by_channels[whole.shape[1]].append(whole)
    return tuple(np.ascontiguousarray(np.concatenate(found)) for found in by_channels.values())


def _samples(series: Series, data: bytes) -> Samples:
    blocks = slicing.blocks(series, slicing.select(series.info))
    numbers = [block.numbers([data[extent.start : extent.stop] for extent in block.extents]) for block in blocks]
    return np.concatenate(numbers).reshape(series.info.samples, -1)
