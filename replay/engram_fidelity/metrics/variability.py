"""How answers to one stimulus differ: from repeat to repeat in one cell, and together between cells.

Fano factor: Fano, Phys. Rev. 1947. Noise correlations: Cohen and Kohn, "Measuring and interpreting neuronal correlations", Nat.
Neurosci. 2011. Both grow with the window: state it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.correlation import rebin
from engram_fidelity.metrics.inputs import Floats, not_negative
from engram_fidelity.metrics.per_cell import PerCell


@dataclass(frozen=True, slots=True)
class Fano:
    """Variance over repeats divided by mean, averaged over windows."""

    value: float
    """Over the windows of all cells; NaN if none counts."""
    cells: PerCell
    """Over those of each cell."""
    windows: int
    """How many windows, of all cells, had enough spikes to count."""


def fano(counts: ArrayLike, window: int, *, least_mean: float = 0.5) -> Fano:
    """Return Var / mean of the spike count over repeats in windows of `window` bins, from counts (repeat, time, cell).

    Only windows with a mean above `least_mean` spikes count: in the others nearly every sampler has a factor of 1. A Poisson
    sampler has 1 at any rate. Variances are unbiased; NaN for one repeat. An incomplete last window is dropped.
    """
    spikes = rebin(not_negative(counts, "counts", "repeat", "time", "cell"), window, 1)
    mean = spikes.mean(axis=0)
    enough = mean > max(least_mean, 0.0) if len(spikes) > 1 else np.zeros(mean.shape, dtype=bool)
    variance = spikes.var(axis=0, ddof=1) if len(spikes) > 1 else mean
    factor = np.divide(variance, mean, out=np.zeros_like(mean), where=enough)
    number = enough.sum(axis=0)
    by_cell = np.divide(factor.sum(axis=0), number, out=np.full(len(number), np.nan), where=number > 0)
    whole = int(number.sum())
    return Fano(value=float(factor.sum() / whole) if whole else np.nan, cells=PerCell(by_cell), windows=whole)


def noise_correlations(counts: ArrayLike, window: int) -> Floats:
    """Correlate what cells do beyond their mean answers, in windows of `window` bins: (cell, cell) from (repeat, time, cell).

    The mean over repeats is taken from each window, and the rest is correlated over repeats and windows together. NaN in the row
    and column of a cell that never differs from its mean, as with one repeat; the diagonal is else 1.
    """
    spikes = rebin(not_negative(counts, "counts", "repeat", "time", "cell"), window, 1)
    rest = (spikes - spikes.mean(axis=0)).reshape(-1, spikes.shape[2])
    between = rest.T @ rest
    spread = np.sqrt(np.diag(between))
    moves = spread > 1e-9 * max(1.0, float(spikes.max()))
    scale = np.outer(spread, spread)
    matrix = np.divide(between, scale, out=np.full(between.shape, np.nan), where=np.outer(moves, moves))
    return np.asarray(np.clip(matrix, -1.0, 1.0))


def pairwise(matrix: Floats) -> Floats:
    """Return what a symmetric (cell, cell) matrix says of each pair of different cells once, NaN left out."""
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    return pairs[~np.isnan(pairs)]
