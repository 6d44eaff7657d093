"""Whether spikes come when a student says: intervals in rescaled time against the unit exponential.

If the student's expected counts are right given the past, the expected count from spike to spike is exponential with mean 1.
Brown, Barbieri, Ventura, Kass, Frank, "The time-rescaling theorem and its application to neural spike train data analysis", Neural
Comput. 2002; for wide bins Haslinger, Pipa, Brown, "Discrete time rescaling theorem", Neural Comput. 2010.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats, fitting, not_negative
from engram_fidelity.metrics.likelihood import LEAST, SpikeModel
from engram_format.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Rescaling:
    """The Kolmogorov-Smirnov distance of rescaled intervals from what they should be."""

    distance: float
    """The largest distance of 1 - exp(-interval) from the uniform distribution, 0 to 1; NaN without a spike."""
    band: float
    """What 95 of 100 right students stay below, 1.36 / sqrt(intervals)."""
    intervals: int

    @property
    def within(self) -> bool:
        """Whether the distance is inside the band."""
        return self.distance <= self.band


def ks(counts: ArrayLike, expected: ArrayLike, *, model: SpikeModel = "poisson", seed: int = 0) -> Rescaling:
    """Compare the intervals of one cell's spikes (repeat, time) with the expected counts, (time,) or (repeat, time).

    Repeats are put one after the other, for the wait for a spike forgets that it was cut. Bins are wide, so a spike is placed at
    random in its bin (`seed`), as the model has it: the spikes of a Poisson bin lie anywhere in it; a *bernoulli* bin, for which
    `expected` is the probability of a spike, has one at most (more count as one) and the next wait begins after it (Haslinger).
    With `expected` that knows the real past, this judges the student's conditional intensity; without, a refractory cell fails it.

    Raises `InvalidInput` for shapes that do not fit, NaN, what is negative, and a probability above 1.
    """
    intervals = rescaled_intervals(counts, expected, model=model, seed=seed)
    if not len(intervals):
        return Rescaling(np.nan, np.nan, 0)
    uniform = np.sort(-np.expm1(-intervals))
    steps = np.arange(len(uniform) + 1) / len(uniform)
    distance = max(float((steps[1:] - uniform).max()), float((uniform - steps[:-1]).max()))
    return Rescaling(distance=distance, band=1.36 / math.sqrt(len(uniform)), intervals=len(uniform))


def rescaled_intervals(
    counts: ArrayLike, expected: ArrayLike, *, model: SpikeModel = "poisson", seed: int = 0
) -> Floats:
    """Return the expected counts between spikes, (interval,), one for each spike: what `ks` compares with the unit exponential."""
    spikes = not_negative(counts, "counts", "repeat", "time")
    rate = fitting(expected, "expected counts", spikes.shape).ravel()
    number = np.rint(spikes.ravel()).astype(np.int64)
    if model == "bernoulli":
        if rate.max() > 1:
            raise InvalidInput(
                f"the expected counts hold {rate.max():g}, which is no probability of a spike: choose poisson"
            )
        rate = -np.log1p(-np.minimum(rate, 1 - LEAST))
    before = np.concatenate([[0.0], np.cumsum(rate)])
    generator = np.random.default_rng(seed)
    if model == "poisson":
        bins = np.repeat(np.arange(len(rate)), number)
        times = np.sort(before[bins] + generator.random(len(bins)) * rate[bins])
        return np.diff(times, prepend=0.0)
    bins = np.flatnonzero(number)
    since = np.concatenate([[0.0], before[bins[:-1] + 1]])[: len(bins)]
    within = -np.log1p(generator.random(len(bins)) * np.expm1(-rate[bins]))
    return np.asarray(before[bins] - since + within)
