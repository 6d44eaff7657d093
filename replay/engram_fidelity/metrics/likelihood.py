"""How probable the spikes were under a student: bits per spike, deviance, and what the repeats themselves would give.

A student that hears its own past spikes (`expected` of the shape of the counts, computed with the real past) is judged *with
history*; one that knows the stimulus alone (`expected` (time,) or (time, cell), the same for every repeat) *without*. The two are
different numbers: say which. Poisson unless told otherwise; a Bernoulli student has at most one spike a bin.

Bits per spike: Pei et al., "Neural Latents Benchmark '21", NeurIPS 2021. Deviance: McCullagh and Nelder, "Generalized linear
models", 1989.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats, fitting, not_negative
from engram_fidelity.metrics.per_cell import PerCell
from engram_format.errors import InvalidInput

SpikeModel = Literal["poisson", "bernoulli"]

LEAST: Final = 1e-9
"""Expected counts are never taken as smaller: one spike where none was expected must not cost infinity."""


def log_likelihood(counts: ArrayLike, expected: ArrayLike, *, model: SpikeModel = "poisson") -> Floats:
    """Return the log probability of each count in nats, in the shape of `counts`, but for terms of the counts alone (ln k!).

    `expected` is the expected count per bin, stretched to the counts; for a Bernoulli student it is the probability of a spike.
    Both are kept at `LEAST` or above. Raises `InvalidInput` for shapes that do not fit, NaN, what is negative, and two spikes
    in a bin or a probability above 1 under Bernoulli.
    """
    spikes = not_negative(counts, "counts")
    rate = np.maximum(fitting(expected, "expected counts", spikes.shape), LEAST)
    if model == "poisson":
        return np.asarray(spikes * np.log(rate) - rate)
    if spikes.max() > 1:
        raise InvalidInput(
            f"the counts hold {spikes.max():g} in one bin where a Bernoulli student has one at most: clip them, or choose poisson"
        )
    if rate.max() > 1:
        raise InvalidInput(
            f"the expected counts hold {rate.max():g}, which is no probability of a spike: choose poisson"
        )
    return np.asarray(np.where(spikes > 0, np.log(rate), np.log1p(-np.minimum(rate, 1 - LEAST))))


def bits_per_spike(
    counts: ArrayLike, expected: ArrayLike, null_mean: ArrayLike, *, model: SpikeModel = "poisson"
) -> float:
    """Return the bits per spike that `expected` gains on a constant: sum of [ln P(k|e) - ln P(k|null)] / (n ln 2).

    All given counts are taken together, of any shape; `expected` and `null_mean` (counts per bin) are stretched to it. State which
    mean the null is: that of the training data is fixed beforehand; that of the evaluated data itself (Neural Latents
    Benchmark) knows more, so the student gains less on it. NaN without a spike.
    """
    spikes = not_negative(counts, "counts")
    gain = log_likelihood(spikes, expected, model=model) - log_likelihood(spikes, null_mean, model=model)
    total = float(spikes.sum())
    return float(gain.sum() / (total * math.log(2))) if total else np.nan


def bits_by_cell(
    counts: ArrayLike, expected: ArrayLike, null_mean: ArrayLike, *, model: SpikeModel = "poisson"
) -> PerCell:
    """Return the bits per spike of each cell, from counts (..., cell); `null_mean` is one number a cell, or one for all."""
    spikes = not_negative(counts, "counts")
    gain = log_likelihood(spikes, expected, model=model) - log_likelihood(spikes, null_mean, model=model)
    axes = tuple(range(spikes.ndim - 1))
    total = spikes.sum(axis=axes)
    bits = np.divide(gain.sum(axis=axes), total * math.log(2), out=np.full(total.shape, np.nan), where=total > 0)
    return PerCell(np.atleast_1d(bits))


def mean_count(counts: ArrayLike) -> Floats:
    """Return the mean count per bin of each cell, (cell,), from counts (..., cell): a null for bits per spike."""
    spikes = not_negative(counts, "counts")
    return np.atleast_1d(spikes.mean(axis=tuple(range(spikes.ndim - 1))))


def poisson_deviance(counts: ArrayLike, expected: ArrayLike) -> Floats:
    """Return 2 [k ln(k / e) - (k - e)] of each bin, in the shape of `counts`: zero where the student says what came."""
    spikes = not_negative(counts, "counts")
    rate = np.maximum(fitting(expected, "expected counts", spikes.shape), LEAST)
    ratio = np.log(np.where(spikes > 0, spikes, 1.0) / rate)
    return np.asarray(2 * (np.where(spikes > 0, spikes * ratio, 0.0) - (spikes - rate)))


def deviance_explained(counts: ArrayLike, expected: ArrayLike, null_mean: ArrayLike | None = None) -> float:
    """Return the share of the Poisson deviance of a constant that `expected` explains: 1 - D(k, e) / D(k, null).

    All given counts are taken together. The null is the mean of these counts unless another is given. NaN where a constant
    leaves nothing to explain.
    """
    spikes = not_negative(counts, "counts")
    null = float(poisson_deviance(spikes, spikes.mean() if null_mean is None else null_mean).sum())
    return 1 - float(poisson_deviance(spikes, expected).sum()) / null if null > 0 and spikes.any() else np.nan


def deviance_by_cell(counts: ArrayLike, expected: ArrayLike, null_mean: ArrayLike | None = None) -> PerCell:
    """Return the Poisson deviance explained of each cell, from counts (..., cell)."""
    spikes = not_negative(counts, "counts")
    rate = fitting(expected, "expected counts", spikes.shape)
    null = fitting(mean_count(spikes) if null_mean is None else null_mean, "null means", spikes.shape)
    return PerCell.of(
        deviance_explained(spikes[..., cell], rate[..., cell], null[..., cell]) for cell in range(spikes.shape[-1])
    )


def leave_one_out(counts: ArrayLike, *, smoothing_bins: float = 0.0) -> Floats:
    """Return for each repeat the mean of the others, in the shape of counts (repeat, time, cell): the oracle's expected counts.

    `smoothing_bins` is the standard deviation of a Gaussian over time, cut at three of them and renormalised at the ends. Raises
    `InvalidInput` for one repeat.
    """
    spikes = not_negative(counts, "counts", "repeat", "time", "cell")
    if len(spikes) < 2:
        raise InvalidInput("one repeat has no others to be foretold by: bring at least two")
    others = (spikes.sum(axis=0) - spikes) / (len(spikes) - 1)
    if smoothing_bins <= 0:
        return np.asarray(others)
    reach = math.ceil(3 * smoothing_bins)
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / smoothing_bins))
    bins = spikes.shape[1]
    smooth = np.zeros_like(others)
    weight = np.zeros((bins, 1))
    for shift, share in zip(range(-reach, reach + 1), kernel, strict=True):
        to, come = slice(max(0, -shift), min(bins, bins - shift)), slice(max(0, shift), min(bins, bins + shift))
        if to.start < to.stop:
            smooth[:, to] += share * others[:, come]
            weight[to] += share
    return np.asarray(smooth / weight)


def oracle_bits_by_cell(counts: ArrayLike, null_mean: ArrayLike, *, smoothing_bins: float = 0.0) -> PerCell:
    """Return the bits per spike that the other repeats would give, for counts (repeat, time, cell): a ceiling without history.

    Smoothed (two bins of 5 ms serve retinal ganglion cells) it is the fairer ceiling, for a mean of few repeats is noisy.
    Bins that no other repeat had a spike in are taken as a thousandth of the null mean.
    """
    spikes = not_negative(counts, "counts", "repeat", "time", "cell")
    null = fitting(null_mean, "null means", spikes.shape[2:])
    return bits_by_cell(spikes, np.maximum(leave_one_out(spikes, smoothing_bins=smoothing_bins), 1e-3 * null), null)
