"""A sketch of a student: fitted in a second, for questions about data rather than about the network.

One linear filter a cell over a past that grows coarser, by ridge regression, and a rising curve from its drive to a rate. It is
weaker than any tier of distilling, and says how much more data teach; the sums that it needs are taken once for each trial, so
that fits to many parts of a recording cost little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts, Experiment, Stimulus, Trials
from engram_format.errors import InvalidInput

F64 = NDArray[np.float64]

_LAGS_S: Final = (0.0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.29, 0.38, 0.5)
"""Ends of the pieces of the past that are averaged."""
_PENALTY: Final = 3e-3
_CURVE: Final = 24
_SOME: Final = 7
"""The curve is fitted to one bin in so many."""
_MOST: Final = 255


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """A fitted sketch; a `RateResponder` whose counts are Poisson's."""

    bin_s: float
    filter: F64
    """(feature, cell); the last feature is 1."""
    drives: F64
    """Where the curve of each cell has its knots: (knot, cell)."""
    rates: F64
    """Expected count at the knots."""
    channels: int

    @property
    def cells(self) -> int:
        """How many cells answer."""
        return int(self.filter.shape[1])

    def expected(self, stimulus: Stimulus, *, seed: int) -> Stimulus:
        """Return the expected count of each cell in each bin; the seed changes nothing."""
        drive = _features(stimulus, self.bin_s) @ self.filter
        told = [np.interp(drive[:, cell], self.drives[:, cell], self.rates[:, cell]) for cell in range(self.cells)]
        return np.stack(told, axis=1).astype(np.float32)

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Draw Poisson counts around the expected ones."""
        rate = self.expected(stimulus, seed=seed)
        drawn = np.random.default_rng(seed).poisson(rate, (repeats, *rate.shape))
        return np.minimum(drawn, _MOST).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What a trial adds to the regression, and some of its bins for the curve."""

    squares: F64
    products: F64
    some: NDArray[np.float32]
    counts: F64


@dataclass(frozen=True, slots=True, eq=False)
class Sketcher:
    """The sums of all trials of an experiment."""

    bin_s: float
    channels: int
    sums: Mapping[str, _Sums]

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Take the sums of every trial."""
        return cls(
            experiment.bin_s,
            len(experiment.channels),
            {one.stimulus_id: _sums(one, experiment.bin_s) for one in experiment.trials},
        )

    def fit(self, trials: Sequence[Trials]) -> Sketch:
        """Fit to some of the trials; raises `InvalidInput` where no cell fired in them."""
        sums = [self.sums[one.stimulus_id] for one in trials]
        squares = sum((one.squares for one in sums), np.zeros_like(sums[0].squares))
        products = sum((one.products for one in sums), np.zeros_like(sums[0].products))
        if not products[-1].any():
            raise InvalidInput(
                "no cell fired in the trials that a student would be trained on: there is nothing to learn"
            )
        penalty = _PENALTY * np.trace(squares) / len(squares) * np.eye(len(squares))
        penalty[-1, -1] = 0.0
        weights = np.linalg.solve(squares + penalty, products)
        drive = np.concatenate([one.some for one in sums]) @ weights
        counts = np.concatenate([one.counts for one in sums])
        curves = [_curve(drive[:, cell], counts[:, cell]) for cell in range(weights.shape[1])]
        return Sketch(
            self.bin_s,
            weights,
            np.stack([knots for knots, _ in curves], axis=1),
            np.stack([rates for _, rates in curves], axis=1),
            self.channels,
        )


def _sums(trials: Trials, bin_s: float) -> _Sums:
    features = _features(trials.stimulus, bin_s)
    counts = trials.counts.mean(axis=0, dtype=np.float64)
    return _Sums(
        trials.repeats * (features.T @ features),
        trials.repeats * (features.T @ counts),
        features[::_SOME].astype(np.float32),
        counts[::_SOME],
    )


def _features(stimulus: Stimulus, bin_s: float) -> F64:
    """Return the means of the pieces of each bin's past, and 1: (time, piece x channel + 1); before the beginning, what began."""
    ends = [0]
    for stop in _LAGS_S[1:]:
        ends.append(max(ends[-1] + 1, round(stop / bin_s)))
    first, time = ends[-1], len(stimulus)
    padded = np.concatenate([np.repeat(stimulus[:1], first, axis=0), stimulus])
    sums = np.cumsum(padded, axis=0, dtype=np.float64)
    pieces = [
        (sums[first - near : first - near + time] - (sums[first - far : first - far + time])) / (far - near)
        for near, far in pairwise(ends)
    ]
    return np.concatenate([*pieces, np.ones((time, 1))], axis=1)


def _curve(drive: F64, counts: F64) -> tuple[F64, F64]:
    """Return knots and rates of a curve that never falls: means of groups of equal size, pooled where they would fall."""
    order = np.argsort(drive, kind="stable")
    groups = np.array_split(order, _CURVE)
    knots = np.maximum.accumulate([drive[group].mean() if len(group) else drive[order[-1]] for group in groups])
    levels: list[list[float]] = []
    for group in groups:
        levels.append([float(counts[group].mean()) if len(group) else 0.0, 1.0])
        while len(levels) > 1 and levels[-2][0] >= levels[-1][0]:
            (one, many), (other, more) = levels[-2:]
            levels[-2:] = [[(one * many + other * more) / (many + more), many + more]]
    rates = np.concatenate([np.full(round(many), level) for level, many in levels])
    return np.asarray(knots, np.float64), rates
