"""Fidelity against minutes of recording, and how many more a target needs.

The student is fitted anew to growing parts of the training, several times each, and held against the repeats. Through the
points goes a power law that saturates, fidelity = ceiling - loss * minutes ** -rate; how far it can be trusted is told by
resampling the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Trials
from engram_fidelity.extras import need
from engram_format.errors import InvalidInput

F64 = NDArray[np.float64]

Score = Callable[[Sequence[Trials], int], float]
"""Fits a student to trials, with a seed, and returns its fidelity on what was held out."""

SHARES: Final = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_RESAMPLES: Final = 200
_LEAST_SURE: Final = 0.5
"""The share of resamples that must reach a target for it to be called reachable."""
_LONGEST_MINUTES: Final = 1e5


@dataclass(frozen=True, slots=True)
class Point:
    """One fit."""

    minutes: float
    fidelity: float


@dataclass(frozen=True, slots=True)
class Law:
    """fidelity = ceiling - loss * minutes ** -rate."""

    ceiling: float
    loss: float
    rate: float

    def at(self, minutes: float) -> float:
        """Return the fidelity after so many minutes."""
        return float(self.ceiling - self.loss * minutes**-self.rate)

    def minutes_for(self, target: float) -> float:
        """Return after how many minutes a target is reached; infinite where never."""
        if target >= self.ceiling:
            return math.inf
        if self.loss <= 0:
            return 0.0
        return float(min((self.loss / (self.ceiling - target)) ** (1 / self.rate), math.inf))


@dataclass(frozen=True, slots=True)
class Need:
    """How many minutes a target needs."""

    target: float
    minutes: float | None
    """In all; `None` where the target is not reachable by recording longer."""
    low: float | None
    high: float | None
    """Between them lie 95 % of the resamples; `None` above where some never reach it."""
    more: float | None
    """Minutes that are still to be recorded: 0 where it is reached."""

    def sentence(self, law: Law, *, longest: float) -> str:
        """Return what a person reads."""
        if self.minutes is None:
            beyond = f"more minutes lead to about {min(law.ceiling, law.at(_LONGEST_MINUTES)):.3f}"
            return (
                f"{self.target:g} is not reachable by recording longer: {beyond}; another tier, or other stimuli, may"
            )
        if self.more == 0:
            return f"{self.target:g} is reached with {self.minutes:.1f} of the {longest:.1f} minutes that there are"
        high = "no bound" if self.high is None else f"{self.high:.0f}"
        low = 0.0 if self.low is None else self.low
        needed = f"{self.target:g} needs about {self.minutes:.0f} minutes (95 %: {low:.0f} to {high})"
        return f"{needed}, {self.more:.0f} more than there are"


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The points, the law through them, and what it takes for a target."""

    points: tuple[Point, ...]
    law: Law
    need: Need
    minutes: tuple[float, ...]
    """Where the band is told."""
    low: tuple[float, ...]
    high: tuple[float, ...]


def measure(training: Sequence[Trials], score: Score, *, bin_s: float, seed: int, fits: int = 2) -> tuple[Point, ...]:
    """Fit to growing parts of the training, each `fits` times on other trials (the whole once), and return the points.

    Raises `InvalidInput` for fewer than four trials: cut a long one into segments.
    """
    if len(training) < 4:
        raise InvalidInput(
            f"{len(training)} training trials make no learning curve: bring a recording with at least 4 stimuli shown once"
        )
    random = np.random.default_rng(seed)
    counts = sorted({max(1, round(share * len(training))) for share in SHARES})
    points = []
    for count in counts:
        for turn in range(fits if count < len(training) else 1):
            chosen = [training[place] for place in np.sort(random.permutation(len(training))[:count])]
            minutes = sum(one.bins * one.repeats for one in chosen) * bin_s / 60
            fidelity = score(chosen, seed + turn)
            if math.isfinite(fidelity):
                points.append(Point(minutes, float(fidelity)))
    return tuple(points)


def extrapolate(points: Sequence[Point], *, target: float, seed: int) -> LearningCurve:
    """Put the law through the points, and tell how many minutes a target needs.

    Raises `InvalidInput` for fewer than three different lengths, `Precondition` without scipy.
    """
    if not 0 < target < 1:
        raise InvalidInput(f"a target of {target:g} cannot be: fidelity lies between 0 and 1")
    minutes = np.array([one.minutes for one in points])
    fidelity = np.array([one.fidelity for one in points])
    if len(set(np.round(minutes, 6))) < 3:
        raise InvalidInput(f"{len(points)} fits make no curve: three different lengths are the least")
    law = _law(minutes, fidelity)
    random = np.random.default_rng(seed)
    told = np.array([law.at(length) for length in minutes])
    rest = fidelity - told
    # Three numbers are taken from the points, so that what is left is smaller than the scatter that it stands for.
    rest = (rest - rest.mean()) * math.sqrt(len(rest) / max(len(rest) - 3, 1))
    laws = [_law(minutes, told + random.choice(rest, len(rest))) for _ in range(_RESAMPLES)]
    longest = float(minutes.max())
    places = np.geomspace(minutes.min(), longest * 8, 60)
    band = np.percentile([[one.at(length) for length in places] for one in laws], [2.5, 97.5], axis=0)
    return LearningCurve(
        points=tuple(points),
        law=law,
        need=_need(law, laws, target=target, longest=longest),
        minutes=tuple(places.tolist()),
        low=tuple(band[0].tolist()),
        high=tuple(band[1].tolist()),
    )


def _need(law: Law, laws: Sequence[Law], *, target: float, longest: float) -> Need:
    needed = np.array([one.minutes_for(target) for one in laws])
    reached = needed < _LONGEST_MINUTES
    best = law.minutes_for(target)
    if best >= _LONGEST_MINUTES or reached.mean() < _LEAST_SURE:
        return Need(target, None, None, None, None)
    low, high = (float(np.quantile(needed, share, method="nearest")) for share in (0.025, 0.975))
    return Need(
        target,
        best,
        min(low, best),
        max(high, best) if high < _LONGEST_MINUTES else None,
        max(0.0, best - longest),
    )


def _law(minutes: F64, fidelity: F64) -> Law:
    """Return the law of least squares; ceiling up to 1, loss from 0, rate from 0.05 to 3."""
    optimize = need("scipy.optimize", "certify")
    best = float(fidelity.max())
    start = (min(best + 0.02, 0.999), max(best - float(fidelity.min()), 0.01) * float(minutes.min()) ** 0.5, 0.5)
    found = optimize.least_squares(
        lambda law: law[0] - law[1] * minutes ** -law[2] - fidelity,
        start,
        bounds=([-1.0, 0.0, 0.05], [1.0, np.inf, 3.0]),
        x_scale=(0.1, 0.1, 0.5),
    )
    ceiling, loss, rate = (float(value) for value in found.x)
    return Law(ceiling, loss, rate)
