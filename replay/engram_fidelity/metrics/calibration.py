"""Whether a student that says 0.3 spikes is answered by 0.3 on average, and whether counts spread as it says.

Deciles and ECE: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, with rates for
probabilities. PIT of counts: Czado, Gneiting, Held, "Predictive model assessment for count data", Biometrics 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats, at_least, fitting, not_negative


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationTable:
    """Bins in groups by what was expected, from the least to the most: each array is (group,), in counts per bin."""

    expected: Floats
    """The mean that was expected."""
    observed: Floats
    """The mean that came."""
    number: Floats
    """How many counts are in the group."""
    error: Floats
    """The standard error of `observed`, as if bins were independent; NaN for a group of one."""

    @property
    def slope(self) -> float:
        """Of `observed` over `expected`, groups weighed by their numbers; 1 is right, NaN if only one rate was expected."""
        centre = np.average(self.expected, weights=self.number)
        away = self.expected - centre
        spread = float((self.number * np.square(away)).sum())
        if spread <= 1e-18 * float(self.number.sum()) * centre**2:
            return np.nan
        return float((self.number * away * self.observed).sum()) / spread

    @property
    def intercept(self) -> float:
        """What comes where nothing is expected, in counts per bin; 0 is right."""
        centre = [float(np.average(side, weights=self.number)) for side in (self.expected, self.observed)]
        return centre[1] - self.slope * centre[0]

    @property
    def ece(self) -> float:
        """The mean distance between observed and expected, as a share of the mean expected: sum of w |o - e| / e-mean.

        0 is right; NaN if nothing was expected.
        """
        centre = float(np.average(self.expected, weights=self.number))
        return (
            float(np.average(np.abs(self.observed - self.expected), weights=self.number)) / centre
            if centre > 0
            else np.nan
        )


def calibration_table(counts: ArrayLike, expected: ArrayLike, *, groups: int = 10) -> CalibrationTable:
    """Sort all given counts by their expected count into `groups` of about one size (deciles), and average each.

    `expected` is stretched to the counts. What is expected alike is never parted, so there may be fewer groups: a group begins at
    each quantile that differs from the one before.
    """
    spikes = not_negative(counts, "counts")
    rate = fitting(expected, "expected counts", spikes.shape).ravel()
    spikes = spikes.ravel()
    edges = np.unique(
        np.quantile(rate, np.arange(1, at_least(groups, 1, "a number of groups")) / groups, method="higher")
    )
    group = np.searchsorted(edges, rate, side="right")
    number = np.bincount(group, minlength=len(edges) + 1).astype(np.float64)
    filled = number > 0
    means = [
        np.bincount(group, side, len(number))[filled] / number[filled] for side in (rate, spikes, np.square(spikes))
    ]
    number = number[filled]
    variance = np.maximum(means[2] - np.square(means[1]), 0)
    error = np.sqrt(np.divide(variance, number - 1, out=np.full(len(number), np.nan), where=number > 1))
    return CalibrationTable(expected=means[0], observed=means[1], number=number, error=error)


def rate_ece(counts: ArrayLike, expected: ArrayLike, *, groups: int = 10) -> float:
    """Return the calibration error of rates over deciles as a share of the mean expected rate: `CalibrationTable.ece`."""
    return calibration_table(counts, expected, groups=groups).ece


def slope_intercept(counts: ArrayLike, expected: ArrayLike, *, groups: int = 10) -> tuple[float, float]:
    """Return slope and intercept (counts per bin) of what came over what was expected, by deciles: 1 and 0 are right."""
    table = calibration_table(counts, expected, groups=groups)
    return table.slope, table.intercept


def pit_histogram(counts: ArrayLike, expected: ArrayLike, *, groups: int = 10) -> Floats:
    """Return the histogram of the Poisson probability integral transform, (group,), of mean 1.

    The mean over counts k of the uniform density on [P(K < k), P(K <= k)]: flat if counts spread as Poisson says; high in the
    middle if they spread less (as in refractory cells), at the ends if more. Few counts per bin make any histogram nearly flat: use
    windows of some spikes (`rebin` both).
    """
    spikes = not_negative(counts, "counts")
    rate = fitting(expected, "expected counts", spikes.shape).ravel()
    spikes = np.rint(spikes.ravel())
    below, mass = np.zeros_like(rate), np.exp(-rate)
    for k in range(int(spikes.max())):
        later = spikes > k
        below[later] += mass[later]
        mass = np.where(later, mass * rate / (k + 1), mass)
    edges = np.linspace(0, 1, at_least(groups, 1, "a number of groups") + 1)
    wide = np.maximum(mass, 1e-300)
    reached = np.array([np.clip((edge - below) / wide, 0, 1).mean() for edge in edges])
    reached[-1] = 1.0
    return np.diff(reached) * groups
