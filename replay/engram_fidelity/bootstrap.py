"""How far a number may be off: intervals by drawing repeats, or cells, anew.

Repeats are drawn as *weights*, (draw, repeat): how often each is taken. A measure that takes weights is computed for all draws at
once, and can keep a repeat drawn twice from being taken for two that agree, which plain redrawing would (correlations against the
ceiling then come out too high). Efron and Tibshirani, "An introduction to the bootstrap", 1993: percentile intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.correlation import Covariances
from engram_fidelity.metrics.inputs import Floats, at_least, fitting, not_negative, numbers
from engram_fidelity.metrics.likelihood import SpikeModel, log_likelihood
from engram_format.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and where it lies in `level` of the draws. NaN where the number is undefined."""

    value: float
    """Of all repeats, each once."""
    lower: float
    upper: float
    level: float
    draws: int
    undefined: int
    """In how many draws the number was NaN; these are left out."""


def draw_weights(repeats: int, *, draws: int = 1000, seed: int = 0) -> Floats:
    """Draw `repeats` with replacement, `draws` times: (draw, repeat), how often each is taken."""
    at_least(repeats, 1, "a number of repeats")
    even = np.full(repeats, 1 / repeats)
    generator = np.random.default_rng(seed)
    return generator.multinomial(repeats, even, size=at_least(draws, 1, "a number of draws")).astype(np.float64)


def over_repeats(
    statistic: Callable[[Floats], Floats], repeats: int, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the interval of a statistic that takes weights (draw, repeat) and gives one number a draw, (draw,)."""
    value = float(statistic(np.ones((1, repeats)))[0])
    return _interval(value, statistic(draw_weights(repeats, draws=draws, seed=seed)), level)


def over_cells(values: ArrayLike, *, draws: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the interval of the mean of one number a cell, (cell,), by drawing cells anew; undefined (NaN) cells are left out."""
    each = np.asarray(values, dtype=np.float64)
    if each.ndim != 1:
        raise InvalidInput(f"the values have the shape {each.shape}: bring one a cell")
    each = each[~np.isnan(each)]
    if not len(each):
        return Interval(np.nan, np.nan, np.nan, level, draws, draws)
    taken = draw_weights(len(each), draws=draws, seed=seed)
    return _interval(float(each.mean()), taken @ each / len(each), level)


def of_correlation(
    counts: ArrayLike,
    predicted: ArrayLike,
    *,
    which: Literal["cc_abs", "cc_norm", "cc_max"] = "cc_norm",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Interval, tuple[Interval, ...]]:
    """Return the interval of a correlation's mean over cells, and of each cell's, over repeats: see `correlation.cc_by_cell`.

    Counts (repeat, time, cell), expected counts (time, cell). All cells are drawn with the same repeats, as they were recorded.
    """
    answers = not_negative(counts, "counts", "repeat", "time", "cell")
    expected = fitting(predicted, "expected counts", answers.shape[1:])
    each = [Covariances.of(answers[..., cell], expected[:, cell]) for cell in range(answers.shape[2])]
    place = ("cc_abs", "cc_norm", "cc_max").index(which)

    def of(one: Covariances) -> Callable[[Floats], Floats]:
        return lambda taken: one.correlations(taken)[place]

    return _of_cells([of(one) for one in each], len(answers), draws, level, seed)


def of_bits_per_spike(
    counts: ArrayLike,
    expected: ArrayLike,
    null_mean: ArrayLike,
    *,
    model: SpikeModel = "poisson",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Interval, tuple[Interval, ...]]:
    """Return the interval of the mean over cells, and of each cell's bits per spike: see `likelihood.bits_by_cell`.

    Counts (repeat, time, cell); `expected` and `null_mean` are stretched to them.
    """
    answers = not_negative(counts, "counts", "repeat", "time", "cell")
    gain = log_likelihood(answers, expected, model=model) - log_likelihood(answers, null_mean, model=model)
    bits, spikes = gain.sum(axis=1) / math.log(2), answers.sum(axis=1)
    parts = [_ratio(bits[:, cell], spikes[:, cell]) for cell in range(answers.shape[2])]
    return _of_cells(parts, len(answers), draws, level, seed)


def of_ratio(
    numerator: ArrayLike, denominator: ArrayLike, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the interval of a sum over repeats divided by another, each (repeat,); NaN where the second is not above zero."""
    above, below = (numbers(side, "sums", "repeat") for side in (numerator, denominator))
    if above.shape != below.shape:
        raise InvalidInput(f"the sums are of {len(above)} and {len(below)} repeats: bring those of the same")
    return over_repeats(_ratio(above, below), len(above), draws=draws, level=level, seed=seed)


def _ratio(above: Floats, below: Floats) -> Callable[[Floats], Floats]:
    def ratio(taken: Floats) -> Floats:
        whole = taken @ below
        return np.asarray(np.divide(taken @ above, whole, out=np.full(len(taken), np.nan), where=whole > 0))

    return ratio


def _of_cells(
    statistics: Sequence[Callable[[Floats], Floats]], repeats: int, draws: int, level: float, seed: int
) -> tuple[Interval, tuple[Interval, ...]]:
    taken = draw_weights(repeats, draws=draws, seed=seed)
    values = np.array([statistic(np.ones((1, repeats)))[0] for statistic in statistics])
    drawn = np.array([statistic(taken) for statistic in statistics])
    cells = tuple(_interval(float(value), row, level) for value, row in zip(values, drawn, strict=True))
    known = ~np.isnan(values)
    mean = float(values[known].mean()) if known.any() else np.nan
    return _interval(mean, _mean_of_defined(drawn[known]), level), cells


def _mean_of_defined(drawn: Floats) -> Floats:
    """Average (cell, draw) over the cells that are defined in each draw; NaN where none is."""
    defined = ~np.isnan(drawn)
    number = defined.sum(axis=0)
    total = np.where(defined, drawn, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, number, out=np.full(drawn.shape[1], np.nan), where=number > 0))


def _interval(value: float, drawn: Floats, level: float) -> Interval:
    if not 0 < level < 1:
        raise InvalidInput(f"a level of {level} is none: give the share of draws inside, such as 0.95")
    defined = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(defined):
        return Interval(value, np.nan, np.nan, level, len(drawn), len(drawn) - len(defined))
    lower, upper = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(lower), float(upper), level, len(drawn), len(drawn) - len(defined))
