"""The answers of cells in a recording: spike times of units, or counts that were recorded in bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.binning import Presentation, SpikeBinner, as_counts, bins_together, summed_counts
from engram_format.address import AnyAddress
from engram_format.catalog import Recording
from engram_format.errors import Exhausted, InvalidInput
from engram_format.series import SeriesInfo
from engram_format.slicing import native_dtype

if TYPE_CHECKING:
    from engram_client.archive import Archive

ON_GRID: Final = 0.01
"""The part of a bin by which a trial may begin beside it."""

_SPIKE_TIMES: Final = "/units/spike_times"
_COUNT_UNITS: Final = frozenset({"count", "counts", "spikes"})
_TOGETHER: Final = 2**20
"""Spikes of so many units that have this many are read at once; a unit with more is read alone."""
_MAX_CELLS: Final = 2**16
_MAX_SPIKES: Final = 2**23
"""Spikes of one unit that are held at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """A recording and how to read it."""

    archive: Archive
    address: AnyAddress
    recording: Recording
    infos: Mapping[str, SeriesInfo]

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.recording.artifact.address)

    def blocks(
        self, series: str, start: int, stop: int | None, *, physical: bool = False
    ) -> Iterator[NDArray[np.generic]]:
        """Yield samples `start` up to `stop` of a series, (time, channel, ...), in blocks along time."""
        yield from self.archive.read_series(self.address, series, start=start, stop=stop, physical=physical)

    def whole(self, series: str, start: int = 0, stop: int | None = None) -> NDArray[np.generic]:
        """Return samples `start` up to `stop` of a series."""
        return np.concatenate(list(self.blocks(series, start, stop)))


def width_of(info: SeriesInfo) -> int:
    """Return how many numbers one sample has."""
    return int(np.prod(info.view_shape[1:], dtype=np.int64))


def channel_names(info: SeriesInfo) -> tuple[str, ...]:
    """Name the channels as the recording does, or by their place: `7`, or `3,7` in a picture."""
    if info.channels and len(info.channels) == width_of(info):
        return info.channels
    return tuple(",".join(map(str, place)) for place in np.ndindex(*info.view_shape[1:])) if info.shape[1:] else ("0",)


@dataclass(frozen=True, slots=True)
class Spikes:
    """Units with their spike times."""

    cells: tuple[str, ...]
    ends: tuple[int, ...]
    """Where each unit's spike times end in the series of all."""

    @classmethod
    def of(cls, source: Source) -> Spikes | None:
        """Find the units of a recording; `None` where it has none, `InvalidInput` where they cannot be told apart."""
        info = source.infos.get(_SPIKE_TIMES)
        if info is None:
            return None
        if not info.index or info.index not in source.infos or len(info.shape) != 1:
            raise InvalidInput(
                f"{source.name} has spike times without /units/spike_times_index: write the units with pynwb"
            )
        index = source.infos[info.index]
        if len(index.shape) != 1 or native_dtype(index.dtype).kind not in "iu":
            raise InvalidInput(f"{source.name} has a {info.index} that is no row of whole numbers: mend the recording")
        if index.samples > _MAX_CELLS:
            raise Exhausted(
                f"{source.name} has {index.samples} units, more than {_MAX_CELLS}: bring a recording of fewer"
            )
        ends: list[int] = source.whole(info.index).tolist() if index.samples else []
        if not all(before <= after for before, after in pairwise([0, *ends, info.samples])):
            raise InvalidInput(
                f"{source.name} has a {info.index} that does not rise, or ends beyond the spike times: mend the recording"
            )
        return cls(_unit_names(source, len(ends)), tuple(ends))

    def read(self, source: Source, trials: Sequence[Presentation], *, bin_s: float) -> NDArray[np.uint8]:
        """Count the spikes of every cell in the bins of all trials one after the other: (bin, cell)."""
        binner = SpikeBinner(trials, bin_s)
        counts = np.empty((binner.bins, len(self.cells)), np.uint8)
        starts = (0, *self.ends[:-1])
        first = 0
        while first < len(self.cells):
            last = first + 1
            while last < len(self.cells) and self.ends[last] - starts[first] <= _TOGETHER:
                last += 1
            if self.ends[last - 1] - starts[first] > _MAX_SPIKES:
                raise Exhausted(
                    f"unit {self.cells[first]} of {source.name} has {self.ends[first] - starts[first]} spikes, more than "
                    f"{_MAX_SPIKES}: bring a recording of less"
                )
            times = source.whole(_SPIKE_TIMES, starts[first], self.ends[last - 1]).astype(np.float64)
            for cell in range(first, last):
                own = times[starts[cell] - starts[first] : self.ends[cell] - starts[first]]
                counts[:, cell] = binner.count(own, cell=self.cells[cell])
            first = last
        return counts


def _unit_names(source: Source, units: int) -> tuple[str, ...]:
    """Name units by their ids, or by their place where ids are missing or not their own."""
    info = source.infos.get("/units/id")
    if units and info is not None and info.shape == (units,):
        ids = source.whole("/units/id").tolist()
        if len(set(ids)) == units:
            return tuple(map(str, ids))
    return tuple(map(str, range(units)))


@dataclass(frozen=True, slots=True)
class Counted:
    """Spikes that were recorded as counts in bins."""

    info: SeriesInfo

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells' names, or their places."""
        return channel_names(self.info)

    @classmethod
    def of(cls, source: Source, shown: SeriesInfo) -> Counted:
        """Find the series of counts beside the stimulus; raises `InvalidInput`, saying what to add, where there is not one."""
        found = [
            info
            for info in source.infos.values()
            if info.name != shown.name
            and info.is_numeric
            and info.sampling_rate > 0
            and len(info.shape) <= 2
            and width_of(info) <= _MAX_CELLS
            and (info.unit.lower() in _COUNT_UNITS or info.name.rpartition("/")[2] == "counts")
        ]
        if len(found) != 1:
            why = "has no units with spike_times" if not found else f"has {len(found)} series of counts and no units"
            raise InvalidInput(
                f"{source.name} {why}: add a units table with spike_times, or one series (time, cell) with unit 'counts' and "
                "a rate"
            )
        return cls(found[0])

    def read(self, source: Source, trials: Sequence[Presentation], *, bin_s: float) -> NDArray[np.uint8]:
        """Return the counts of every cell in the bins of all trials one after the other: (bin, cell)."""
        together = bins_together(bin_s, self.info.sampling_rate)
        counts = np.empty((sum(trial.bins for trial in trials), len(self.cells)), np.uint8)
        done = 0
        for trial in trials:
            place = (trial.start_s - self.info.starting_time) * self.info.sampling_rate
            start, stop = round(place), round(place) + trial.bins * together
            if abs(place - start) > ON_GRID or not 0 <= start < stop <= self.info.samples:
                raise InvalidInput(
                    f"{trial.name} at {trial.start_s:g} s does not begin with a bin of series {self.info.name!r}, or does not "
                    "end within it: move the trial to the bins, or bring spike times"
                )
            stored = source.whole(self.info.name, start, stop).reshape(stop - start, -1)
            for number, cell in enumerate(self.cells):
                single = as_counts(stored[:, number], cell=cell)
                counts[done : done + trial.bins, number] = as_counts(summed_counts(single, together), cell=cell)
            done += trial.bins
        return counts
