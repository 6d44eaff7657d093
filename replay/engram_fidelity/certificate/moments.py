"""How a prediction fits repeats, under every resample of the repeats: from moments, so that a thousand resamples cost little.

Resampling repeats with replacement puts some in twice, and a repeat agrees with itself: whatever compares repeats would take
noise for signal. Here only pairs of different repeats are compared, each weighted by how often both were drawn, so that the
resamples lie around the value and not above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.bootstrap import draw_weights
from engram_fidelity.metrics.correlation import Covariances
from engram_fidelity.metrics.likelihood import LEAST

F64 = NDArray[np.float64]


def drawings(repeats: int, resamples: int, *, seed: int) -> F64:
    """Return how often each repeat is drawn, (1 + resamples, repeats): each once, then with replacement."""
    once = np.ones((1, repeats))
    return np.concatenate([once, draw_weights(repeats, draws=resamples, seed=seed)]) if resamples else once


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Measures of one cell under each weighting, (resample,); the first is the value itself. NaN where there is none."""

    cc_abs: F64
    cc_norm: F64
    cc_max: F64
    feve: F64
    bits_per_spike: F64
    deviance_explained: F64

    def by_name(self) -> Mapping[str, F64]:
        """Return the measures by their names."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def fit_of(counts: F64, expected: F64, drawn: F64) -> Fit:
    """Measure how expected counts (time,) fit the counts of repeats (repeat, time), under weightings (resample, repeat).

    The first of each are the values of `metrics.correlation.cc` and `feve`, `metrics.likelihood.bits_per_spike` and
    `deviance_explained`, the null being the mean count of these very data. What compares repeats is NaN for one repeat.
    """
    cc_abs, cc_norm, cc_max = Covariances.of(counts, expected).correlations(drawn)
    bits, deviance = _likelihood(counts, np.maximum(expected, LEAST), drawn)
    return Fit(cc_abs, cc_norm, cc_max, _feve(counts, expected, drawn), bits, deviance)


def _feve(counts: F64, expected: F64, drawn: F64) -> F64:
    repeats, time = counts.shape
    products = counts @ counts.T / time
    squares = drawn @ np.diag(products) / repeats
    same = drawn**2
    pairs = drawn.sum(axis=1) ** 2 - same.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = np.einsum("bi,ij,bj->b", drawn, products, drawn, optimize=True) - same @ np.diag(products)
        noise = squares - shared / np.where(pairs > 0, pairs, np.nan)
        variance = (squares - (drawn @ counts.mean(axis=1) / repeats) ** 2) * (counts.size / (counts.size - 1))
        error = drawn @ ((counts - expected) ** 2).mean(axis=1) / repeats
        explained: F64 = 1 - (error - noise) / np.where(variance > noise, variance - noise, np.nan)
        return explained


def _likelihood(counts: F64, expected: F64, drawn: F64) -> tuple[F64, F64]:
    """Return bits per spike and the share of the deviance that is explained; factorials of counts cancel in both."""
    spikes = drawn @ counts.sum(axis=1)
    told = drawn @ (counts @ np.log(expected) - expected.sum())
    saturated = drawn @ np.where(counts > 1, counts * np.log(np.maximum(counts, 1)), 0.0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spikes = np.where(spikes > 0, spikes, np.nan)
        null = spikes * np.log(spikes / (drawn.sum(axis=1) * counts.shape[1])) - spikes
        return (told - null) / (spikes * np.log(2)), 1 - (saturated - told - spikes) / (saturated - null - spikes)
