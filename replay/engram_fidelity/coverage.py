"""Which part of stimulus space was visited: what a student was never shown, it can only guess.

A point of stimulus space is what the stimulus did up to a bin, as far back as a history. The points of all stimuli together are
brought to a few dimensions (principal components) and divided into cells (k-means, seeded with k-means++ after Arthur and
Vassilvitskii, 2007); a cell is visited by whoever has a point in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Stimulus, Trials
from engram_fidelity.responder import RateResponder
from engram_format.errors import InvalidInput

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

HISTORY_S: Final = 0.3
"""How far back a retina, and most of what we know, looks."""
CELLS: Final = 256
_POINTS_IN_CELL: Final = 20
"""There are no more cells than have so many points each."""
_LAGS: Final = 10
_POINTS: Final = 6000
_COMPONENTS: Final = 12
_ROUNDS: Final = 30


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Stimulus space in cells."""

    bin_s: float
    lag_bins: int
    """Bins of the history that are averaged into one number of each channel."""
    centre: F64
    axes: F64
    """(channel and lag, component)."""
    middles: F64
    """Of the cells: (cell, component)."""

    @classmethod
    def of(cls, stimuli: Sequence[Stimulus], *, bin_s: float, cells: int = CELLS, seed: int = 0) -> Space:
        """Divide the space that stimuli (time, channel) span; fewer cells where they have fewer different points."""
        lag_bins = max(1, round(HISTORY_S / bin_s / _LAGS))
        random = np.random.default_rng(seed)
        points = np.concatenate(list(_some_points(stimuli, lag_bins, random)))
        centre = points.mean(axis=0)
        _, values, rows = np.linalg.svd(points - centre, full_matrices=False)
        axes = rows[:_COMPONENTS][values[:_COMPONENTS] > 1e-6 * max(values[0], 1e-300)].T
        count = min(cells, 1 + len(points) // _POINTS_IN_CELL)
        return cls(bin_s, lag_bins, centre, axes, _k_means((points - centre) @ axes, count, random))

    @property
    def history_s(self) -> float:
        """How much of the past makes a point, in seconds."""
        return self.lag_bins * _LAGS * self.bin_s

    @property
    def cells(self) -> int:
        """Into how many cells the space is divided."""
        return len(self.middles)

    def where(self, stimulus: Stimulus) -> I64:
        """Return the cell of each bin of a stimulus (time, channel)."""
        return _nearest((_points(stimulus, self.lag_bins) - self.centre) @ self.axes, self.middles)

    def visited(self, trials: Iterable[Trials]) -> frozenset[int]:
        """Return the cells that the stimuli of some trials visit."""
        return frozenset(cell for one in trials for cell in np.unique(self.where(one.stimulus)).tolist())


@dataclass(frozen=True, slots=True)
class Coverage:
    """What part of stimulus space some trials have visited, and how that grew."""

    cells: int
    history_s: float
    visited: int
    """By what a student may be trained on."""
    evenness: float
    """1 where the training was as often in every cell; the exponential of the entropy over the number of cells."""
    held_out: int
    """Cells that the held-out stimuli visit."""
    held_out_visited: int
    """Of these, those that training has visited."""
    minutes: tuple[float, ...]
    """Of training, in the order of the recording."""
    visited_after: tuple[int, ...]
    """Cells visited after so many minutes."""

    @property
    def share(self) -> float:
        """The share of the recording's stimulus space that training has visited."""
        return self.visited / self.cells

    @property
    def held_out_share(self) -> float | None:
        """The share of the held-out stimuli's cells that training has visited; `None` where nothing is held out."""
        return self.held_out_visited / self.held_out if self.held_out else None


def cover(space: Space, training: Sequence[Trials], held_out: Sequence[Trials]) -> Coverage:
    """Tell which cells the training visits; raises `InvalidInput` where there is none."""
    if not training:
        raise InvalidInput(
            "the recording has no stimulus that a student may be trained on: record some that are shown once"
        )
    spent = np.zeros(space.cells)
    minutes, visited_after = [0.0], [0]
    for one in training:
        spent += np.bincount(space.where(one.stimulus), minlength=space.cells) * one.repeats
        minutes.append(minutes[-1] + one.bins * one.repeats * space.bin_s / 60)
        visited_after.append(int((spent > 0).sum()))
    share = spent[spent > 0] / spent.sum()
    asked = space.visited(held_out)
    return Coverage(
        cells=space.cells,
        history_s=space.history_s,
        visited=visited_after[-1],
        evenness=math.exp(-float((share * np.log(share)).sum())) / space.cells,
        held_out=len(asked),
        held_out_visited=len(asked & space.visited(training)),
        minutes=tuple(minutes),
        visited_after=tuple(visited_after),
    )


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where students of one network differ: there they guess."""

    mean: float
    """Standard deviation over students as a share of what they expect, over all bins."""
    by_cell: tuple[float | None, ...]
    """The same in each cell of stimulus space; `None` where no stimulus went."""


def disagree(students: Sequence[RateResponder], space: Space, trials: Sequence[Trials], *, seed: int) -> Disagreement:
    """Tell how much students disagree about stimuli; raises `InvalidInput` for fewer than two, and for unlike ones."""
    if len(students) < 2:
        raise InvalidInput("one student agrees with itself: name at least two")
    if len({(one.channels, one.cells) for one in students}) > 1:
        raise InvalidInput("the students have unlike channels or cells: name students of one preparation")
    spread, size, where = [], [], []
    for one in trials:
        told = np.stack([student.expected(one.stimulus, seed=seed) for student in students]).astype(np.float64)
        spread.append(told.std(axis=0, ddof=1).mean(axis=1))
        size.append(told.mean(axis=(0, 2)))
        where.append(space.where(one.stimulus))
    spreads, sizes, places = np.concatenate(spread), np.concatenate(size), np.concatenate(where)
    total = float(sizes.sum())
    if total <= 0:
        raise InvalidInput("the students expect no spike at all: there is nothing to disagree about")
    apart = np.bincount(places, spreads, minlength=space.cells)
    alike = np.bincount(places, sizes, minlength=space.cells)
    seen = np.bincount(places, minlength=space.cells) > 0
    least = 1e-3 * total / len(sizes)
    by_cell = [float(a / max(b, least)) if there else None for a, b, there in zip(apart, alike, seen, strict=True)]
    return Disagreement(float(spreads.sum()) / total, tuple(by_cell))


def _some_points(stimuli: Sequence[Stimulus], lag_bins: int, random: np.random.Generator) -> Iterator[F64]:
    """Yield at most `_POINTS` points of all stimuli, those of one at a time: all of them would not fit into memory."""
    bins = sum(map(len, stimuli))
    chosen = np.arange(bins) if bins <= _POINTS else np.sort(random.choice(bins, _POINTS, replace=False))
    first = 0
    for one in stimuli:
        here = chosen[(chosen >= first) & (chosen < first + len(one))] - first
        if len(here):
            yield _points(one, lag_bins)[here]
        first += len(one)


def _points(stimulus: Stimulus, lag_bins: int) -> F64:
    """Return for each bin the means of its history's lags, (time, lag and channel); before the beginning, what began."""
    sums = np.cumsum(
        np.concatenate([np.repeat(stimulus[:1], _LAGS * lag_bins, axis=0), stimulus]), axis=0, dtype=np.float64
    )
    time, first = len(stimulus), _LAGS * lag_bins
    ends = [sums[first - lag * lag_bins : first - lag * lag_bins + time] for lag in range(_LAGS)]
    starts = [*ends[1:], sums[:time]]
    return np.concatenate([(end - start) / lag_bins for end, start in zip(ends, starts, strict=True)], axis=1)


def _k_means(points: F64, cells: int, random: np.random.Generator) -> F64:
    """Return the middles of at most so many cells, (cell, component)."""
    middles = points[[int(random.integers(len(points)))]]
    if not points.shape[1]:
        return middles  # a stimulus that never changes is one point
    away = ((points - middles[0]) ** 2).sum(axis=1)
    while len(middles) < cells and away.max() > 1e-9:
        chosen = points[[int(random.choice(len(points), p=away / away.sum()))]]
        middles = np.concatenate([middles, chosen])
        away = np.minimum(away, ((points - chosen[0]) ** 2).sum(axis=1))
    for _ in range(_ROUNDS):
        nearest = _nearest(points, middles)
        held = np.bincount(nearest, minlength=len(middles))
        sums = np.stack([np.bincount(nearest, column, minlength=len(middles)) for column in points.T], axis=1)
        moved = np.where(held[:, None] > 0, sums / np.maximum(held, 1)[:, None], middles)
        if np.allclose(moved, middles):
            break
        middles = moved
    return middles


def _nearest(points: F64, middles: F64) -> I64:
    apart = (middles**2).sum(axis=1) - 2 * points @ middles.T
    nearest: I64 = apart.argmin(axis=1)
    return nearest
