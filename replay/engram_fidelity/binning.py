"""From a recording to an experiment in bins: spikes are counted, the stimulus is averaged, trials are aligned (SPEC.md 9.7).

Bin `i` of a trial lasts from `start + i * bin_s` up to `start + (i + 1) * bin_s`; an incomplete last bin is dropped. Times within
a millionth of a bin (or of a sample) of an edge are taken to lie on it, so that rounded sums of decimal numbers do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts, Experiment, Stimulus, Trials
from engram_format.errors import InvalidInput

Warn = Callable[[str], None]
F64 = NDArray[np.float64]

_NEAR: Final = 1e-6
_MOST: Final = 255
"""The largest count in a bin."""
_ALIKE: Final = 0.05
"""Presentations of one stimulus may differ by this part of its own spread: by noise of measuring, by a rounded start."""
_MOST_LAYERS: Final = 64
"""Trials that may go on at the same time."""
_MOST_TOGETHER: Final = 2**31
"""Recorded bins that may make one bin."""
_PIECE: Final = 2**20
"""Elements that are averaged at once, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """One showing of a stimulus: a trial."""

    name: str
    """How messages call it, such as `trial 7`."""
    stimulus_id: str
    repeat: int
    start_s: float
    bins: int


def whole_bins(duration_s: float, bin_s: float) -> int:
    """Return how many whole bins lie in a duration; raises `InvalidInput` for a width or a duration that is none."""
    if not (math.isfinite(bin_s) and bin_s > 0):
        raise InvalidInput(f"a bin of {bin_s} s is none: give a positive width")
    if not math.isfinite(duration_s / bin_s):
        raise InvalidInput(f"{duration_s} s hold no number of bins of {bin_s:g} s: mend the times in the recording")
    return math.floor(duration_s / bin_s + _NEAR)


def presentations(
    starts_s: Sequence[float],
    stops_s: Sequence[float],
    *,
    bin_s: float,
    stimulus_ids: Sequence[str] | None = None,
    repeats: Sequence[int] | None = None,
    warn: Warn = lambda _: None,
) -> tuple[Presentation, ...]:
    """Return trials by start. Without ids every trial has its own; without `repeats` showings are counted as they follow.

    A trial shorter than a bin is left out, with a warning. Raises `InvalidInput` for times that are none and for a repeat
    that is there twice.
    """
    rows = len(starts_s)
    digits = len(str(max(rows - 1, 0)))
    ids = [f"trial-{row:0{digits}}" for row in range(rows)] if stimulus_ids is None else list(stimulus_ids)
    found: list[Presentation] = []
    counted: dict[str, int] = {}
    taken: set[tuple[str, int]] = set()
    for row in sorted(range(rows), key=lambda one: float(starts_s[one])):
        start, stop, what = float(starts_s[row]), float(stops_s[row]), f"trial {row}"
        if not (math.isfinite(start) and math.isfinite(stop) and start <= stop):
            raise InvalidInput(f"{what} lasts from {start} s to {stop} s: give each trial a start and a later stop")
        bins = whole_bins(stop - start, bin_s)
        if bins == 0:
            warn(f"{what} is shorter than one bin of {bin_s:g} s and is left out")
            continue
        repeat = counted.setdefault(ids[row], 0) if repeats is None else int(repeats[row])
        counted[ids[row]] = repeat + 1
        if (ids[row], repeat) in taken:
            raise InvalidInput(
                f"{what} is a second repeat {repeat} of stimulus {ids[row]!r}: number them, or leave it out"
            )
        taken.add((ids[row], repeat))
        found.append(Presentation(what, ids[row], repeat, start, bins))
    if not found:
        raise InvalidInput(f"no trial lasts a bin of {bin_s:g} s: choose narrower bins")
    return tuple(found)


def segments(start_s: float, stop_s: float, *, segment_s: float, bin_s: float) -> tuple[Presentation, ...]:
    """Return a session without trials as segments, each a stimulus of its own that was shown once.

    Every segment but the last has as many whole bins as `segment_s` holds, and the next one begins where it ends.
    """
    bins = whole_bins(stop_s - start_s, bin_s)
    each = max(whole_bins(segment_s, bin_s), 1)
    firsts = range(0, bins, each)
    if not firsts:
        raise InvalidInput(f"the session is shorter than one bin of {bin_s:g} s: choose narrower bins")
    digits = len(str(len(firsts) - 1))
    return tuple(
        Presentation(
            f"segment {number}",
            f"segment-{number:0{digits}}",
            0,
            start_s + first * bin_s,
            min(each, bins - first),
        )
        for number, first in enumerate(firsts)
    )


class SpikeBinner:
    """Counts spikes in the bins of trials, which may overlap."""

    def __init__(self, trials: Sequence[Presentation], bin_s: float) -> None:
        self._bin_s = bin_s
        self._offsets = np.cumsum([0, *(trial.bins for trial in trials)])
        self._layers = [
            (
                np.array([trials[number].start_s for number in layer]),
                np.array([trials[number].bins for number in layer]),
                self._offsets[layer],
            )
            for layer in _layers(trials, bin_s)
        ]

    @property
    def bins(self) -> int:
        """Bins of all trials."""
        return int(self._offsets[-1])

    def count(self, times: F64, *, cell: str) -> NDArray[np.uint8]:
        """Return how many of a cell's spikes lie in each bin, all trials one after the other.

        Raises `InvalidInput` for a time that is not finite, and for more than 255 spikes in a bin.
        """
        if not np.isfinite(times).all():
            raise InvalidInput(f"cell {cell} has a spike time that is NaN or infinite: mend the recording")
        total = np.zeros(self.bins, np.int64)
        for starts, bins, offsets in self._layers:
            row = np.searchsorted(starts - _NEAR * self._bin_s, times, side="right") - 1
            inside = row >= 0
            row, late = row[inside], times[inside]
            with np.errstate(over="ignore"):  # what is too far away lies in no trial
                place = (late - starts[row]) / self._bin_s
            row, place = row[place < self.bins + 1], _snapped(place[place < self.bins + 1])
            fits = (place >= 0) & (place < bins[row])  # before the numbers of bins, which 64 bits may not hold
            total += np.bincount(offsets[row[fits]] + place[fits].astype(np.int64), minlength=self.bins)
        return as_counts(total, cell=cell)


def as_counts(numbers: NDArray[np.generic], *, cell: str) -> NDArray[np.uint8]:
    """Return numbers of spikes as counts; raises `InvalidInput` for what is none: negative, broken, or more than 255."""
    values = np.asarray(numbers)
    if values.dtype.kind not in "iufb" or not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise InvalidInput(f"cell {cell} has counts that are no whole numbers: bring spikes in each bin")
    if values.size and values.min() < 0:
        raise InvalidInput(f"cell {cell} has a count of {values.min()}: bring spikes in each bin, 0 or more")
    if values.size and values.max() > _MOST:
        raise InvalidInput(f"cell {cell} has {values.max()} spikes in one bin, more than {_MOST}: choose narrower bins")
    return values.astype(np.uint8)


class Clock:
    """When the samples of a series were taken; each holds until the next one."""

    def __init__(self, samples: int, *, start_s: float = 0.0, rate_hz: float = 0.0, times_s: F64 | None = None) -> None:
        """Take a rate, or the time of each sample in place of it; raises `InvalidInput` for times that do not rise."""
        self.samples = samples
        self._start, self._rate = start_s, rate_hz
        self._edges: F64 | None = None
        if times_s is None:
            if not (math.isfinite(rate_hz) and rate_hz > 0):
                raise InvalidInput(
                    "the stimulus has neither a sampling rate nor timestamps: write one into the recording"
                )
            return
        steps = np.diff(times_s)
        if len(times_s) != samples or samples < 2 or not np.isfinite(times_s).all() or (steps < 0).any():
            raise InvalidInput(
                "the timestamps of the stimulus do not rise, or are not as many as its samples: mend them"
            )
        self._edges = np.append(times_s, times_s[-1] + np.median(steps))

    @property
    def start_s(self) -> float:
        """When the first sample was taken."""
        return self._start if self._edges is None else float(self._edges[0])

    @property
    def stop_s(self) -> float:
        """When the last sample ends."""
        return self._start + self.samples / self._rate if self._edges is None else float(self._edges[-1])

    def bin_edges(self, start_s: float, bins: int, bin_s: float) -> F64:
        """Return where bins begin and end, `bins` + 1 numbers, counted in samples."""
        if self._edges is None:
            steps = np.arange(bins + 1, dtype=np.float64)
            return _snapped((start_s - self._start) * self._rate + steps * (bin_s * self._rate))
        places = np.arange(self.samples + 1, dtype=np.float64)
        edges: F64 = np.interp(start_s + np.arange(bins + 1) * bin_s, self._edges, places).astype(np.float64)
        return _snapped(edges)

    def durations(self, start: int, stop: int) -> F64 | None:
        """Return how long samples last; `None` where all last equally long."""
        return None if self._edges is None else np.diff(self._edges[start : stop + 1])


class BinAverage:
    """The time-weighted mean of a series in the bins of one trial, from blocks of samples in any division."""

    def __init__(self, trial: Presentation, clock: Clock, bin_s: float, channels: int) -> None:
        self.trial = trial
        self._clock = clock
        self._edges = clock.bin_edges(trial.start_s, trial.bins, bin_s)
        self._sums = np.zeros((trial.bins, channels))
        self._widths = np.zeros((trial.bins, 1))
        self.start = max(math.floor(self._edges[0]), 0)
        self.stop = min(math.ceil(self._edges[-1]), clock.samples)
        """The samples that are needed: `start` up to `stop`."""

    def add(self, first: int, block: NDArray[np.generic]) -> None:
        """Take the samples from `first` on, (time, channel); those that lie outside are passed over."""
        low, high = max(self.start, first), min(self.stop, first + len(block))
        rows = max(1, _PIECE // max(1, block.shape[1]))
        for start in range(low, high, rows):
            stop = min(start + rows, high)
            self._add(start, np.asarray(block[start - first : stop - first], np.float64))

    def result(self) -> Stimulus:
        """Return the means, (bin, channel); raises `InvalidInput` if samples were missing."""
        if (self._widths <= 0).any():
            raise InvalidInput(
                f"{self.trial.name} lies outside of the stimulus: cut the trial, or bring all of the stimulus"
            )
        with np.errstate(over="ignore"):
            return (self._sums / self._widths).astype(np.float32)

    def _add(self, start: int, values: F64) -> None:
        stop = start + len(values)
        lasting = self._clock.durations(start, stop)
        weights = np.ones((len(values), 1)) if lasting is None else lasting[:, np.newaxis]
        low = max(int(np.searchsorted(self._edges, start, side="right")) - 1, 0)
        high = min(int(np.searchsorted(self._edges, stop, side="left")), self.trial.bins)
        edges = np.clip(self._edges[low : high + 1], start, stop) - start
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # numbers that are too large come out as none, and are refused
            self._sums[low:high] += np.diff(_integral(values * weights, edges), axis=0)
        self._widths[low:high] += np.diff(_integral(weights, edges), axis=0)


def summed_counts(block: NDArray[np.generic], together: int) -> NDArray[np.int64]:
    """Add up groups of bins: (time, cell) to (time // together, cell)."""
    bins = len(block) // together
    grouped = np.asarray(block[: bins * together]).reshape(bins, together, *block.shape[1:])
    sums: NDArray[np.int64] = grouped.sum(axis=1, dtype=np.int64)
    return sums


def bins_together(bin_s: float, rate_hz: float) -> int:
    """Return how many recorded bins make one of `bin_s`; raises `InvalidInput` where that is no whole number."""
    together = round(bin_s * rate_hz) if bin_s * rate_hz < _MOST_TOGETHER else 0
    if together < 1 or abs(bin_s * rate_hz - together) > _NEAR * max(together, 1):
        raise InvalidInput(
            f"the counts were recorded in bins of {1 / rate_hz:.9g} s, of which no bins of {bin_s:g} s can be made: "
            "choose a multiple"
        )
    return together


class Stimuli:
    """The stimuli of an experiment by id, gathered from their presentations, which must be alike."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, Stimulus]] = {}

    def add(self, trial: Presentation, stimulus: Stimulus) -> None:
        """Take one presentation; raises `InvalidInput` where it differs from an earlier one with the same id.

        They are compared over the length of the shorter, which is what remains.
        """
        if not np.isfinite(stimulus).all():
            raise InvalidInput(
                f"the stimulus of {trial.name} holds NaN or infinity: mend the recording, or leave the trial out"
            )
        if trial.stimulus_id not in self._held:
            self._held[trial.stimulus_id] = trial.name, stimulus
            return
        name, known = self._held[trial.stimulus_id]
        bins = min(len(known), len(stimulus))
        known, stimulus = known[:bins], stimulus[:bins]
        self._held[trial.stimulus_id] = name, known
        rows = max(1, _PIECE // known.shape[1])
        squares = (
            np.square(np.subtract(known[at : at + rows], stimulus[at : at + rows], dtype=np.float64)).sum()
            for at in range(0, bins, rows)
        )
        off = math.sqrt(sum(map(float, squares)) / max(known.size, 1))
        spread = float(known.std(dtype=np.float64))
        if off > max(_ALIKE * spread, _NEAR * float(np.abs(known).max(initial=0.0))):
            raise InvalidInput(
                f"{name} and {trial.name} both have stimulus_id {trial.stimulus_id!r} and saw different stimuli "
                f"(they differ by {off:.3g} where the stimulus varies by {spread:.3g}): give them ids of their own"
            )

    def of(self, stimulus_id: str) -> Stimulus:
        """Return a stimulus, (time, channel), as long as its shortest presentation."""
        return self._held[stimulus_id][1]


def experiment_of(
    trials: Sequence[Presentation],
    stimuli: Stimuli,
    counts: NDArray[np.uint8],
    *,
    bin_s: float,
    channels: Sequence[str],
    cells: Sequence[str],
    unit: str = "",
    warn: Warn = lambda _: None,
) -> Experiment:
    """Put together an experiment from counts (bin, cell) of all trials one after the other.

    Repeats of unequal length are cut to the shortest, with a warning. Stimuli are in the order of their first showing.
    """
    ends = np.cumsum([trial.bins for trial in trials])
    groups: dict[str, list[tuple[int, Counts]]] = {}
    for trial, end in zip(trials, ends.tolist(), strict=True):
        groups.setdefault(trial.stimulus_id, []).append((trial.repeat, counts[end - trial.bins : end]))
    return Experiment(
        trials=tuple(
            _trials(stimulus_id, stimuli.of(stimulus_id), dict(sorted(shown, key=lambda one: one[0])), warn=warn)
            for stimulus_id, shown in groups.items()
        ),
        bin_s=bin_s,
        channels=tuple(channels),
        cells=tuple(cells),
        unit=unit,
    )


def _trials(stimulus_id: str, stimulus: Stimulus, shown: Mapping[int, Counts], *, warn: Warn) -> Trials:
    lengths = {len(counts) for counts in shown.values()}
    bins = min(*lengths, len(stimulus)) if lengths else 0
    if len(lengths) > 1:
        warn(f"repeats of stimulus {stimulus_id!r} last {min(lengths)} to {max(lengths)} bins: all are cut to {bins}")
    return Trials(stimulus_id, stimulus[:bins], np.stack([counts[:bins] for counts in shown.values()]))


def _snapped(numbers: F64) -> F64:
    """Return numbers with those near a whole one set to it."""
    whole = np.rint(numbers)
    with np.errstate(invalid="ignore"):  # of infinities
        return np.where(np.abs(numbers - whole) < _NEAR, whole, numbers)


def _integral(values: F64, at: F64) -> F64:
    """Return the integral from 0 to each place of what holds `values[k]` from place `k` to `k + 1`: (place, channel)."""
    running = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=running[1:])
    whole = np.floor(at).astype(np.int64)
    part = (at - whole)[:, np.newaxis]
    return running[whole] + part * values[np.minimum(whole, len(values) - 1)]


def _layers(trials: Sequence[Presentation], bin_s: float) -> Iterator[list[int]]:
    """Divide trials, by start, into rows in which none overlaps another: one row, as a rule.

    Raises `InvalidInput` where more overlap than any session has, since each row is counted by itself.
    """
    rows: list[list[int]] = []
    ends: list[float] = []
    for number in sorted(range(len(trials)), key=lambda one: trials[one].start_s):
        trial = trials[number]
        free = next((row for row, end in enumerate(ends) if end <= trial.start_s + _NEAR * bin_s), len(rows))
        if free == _MOST_LAYERS:
            raise InvalidInput(
                f"{trial.name} at {trial.start_s:g} s overlaps {free} others: mend the starts and stops of the trials"
            )
        if free == len(rows):
            rows.append([])
            ends.append(0.0)
        rows[free].append(number)
        ends[free] = trial.start_s + trial.bins * bin_s
    yield from rows
