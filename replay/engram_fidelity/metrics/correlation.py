"""How much of the explainable answer a prediction explains: correlations against the noise ceiling.

All follow from the covariances between repeats, so that resampled repeats (`weights`) cost next to nothing. A resampling that
takes a repeat twice must not take its noise for signal: pairs of one repeat with itself never count towards the signal.

CC_abs, CC_max, CC_norm: Schoppe, Harper, Willmore, King, Schnupp, "Measuring the performance of neural models", Front. Comput.
Neurosci. 2016. Signal power: Sahani and Linden, "How linear are auditory cortical responses?", NIPS 2003. FEV and FEVE: Cadena et
al., "Deep convolutional models improve predictions of macaque V1 responses", PLoS Comput. Biol. 2019. Values depend on the width
of the bins: state it, and `rebin` to compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats, at_least, fitting, not_negative
from engram_fidelity.metrics.per_cell import PerCell
from engram_format.errors import InvalidInput

_NOTHING = 1e-12
"""A variance below this share of the largest it could be is rounding, not variance."""


def rebin(array: ArrayLike, k: int, axis: int) -> Floats:
    """Add up `k` neighbouring bins along `axis`, dropping an incomplete last group; float64, as sums of counts are counts.

    Raises `InvalidInput` for a `k` below 1 or longer than the axis.
    """
    values = np.asarray(array, dtype=np.float64)
    at_least(k, 1, "a number of bins to add up")
    axis %= values.ndim
    groups = values.shape[axis] // k
    if not groups:
        raise InvalidInput(f"{values.shape[axis]} bins are fewer than the {k} to add up: choose narrower bins")
    kept = values[(slice(None),) * axis + (slice(groups * k),)]
    grouped = kept.reshape(*kept.shape[:axis], groups, k, *kept.shape[axis + 1 :])
    return np.asarray(grouped.sum(axis=axis + 1))


@dataclass(frozen=True, slots=True)
class Correlation:
    """How a prediction correlates with the mean answer of one cell, and how it could at best."""

    cc_abs: float
    """With the mean over repeats: Cov(y, p) / sqrt(Var y Var p)."""
    cc_norm: float
    """With the answer free of noise: Cov(y, p) / sqrt(SP Var p). Of a finite sample, may exceed 1."""
    cc_max: float
    """The ceiling, sqrt(SP / Var y): what the noise-free answer itself would reach."""


@dataclass(frozen=True, slots=True, eq=False)
class Covariances:
    """The second moments over time of one cell's repeats and a prediction: all that correlations need."""

    repeats: Floats
    """Between repeats, (repeat, repeat)."""
    predicted: Floats
    """Of each repeat with the prediction, (repeat,)."""
    prediction: float
    """Of the prediction with itself."""

    @classmethod
    def of(cls, counts: ArrayLike, predicted: ArrayLike | None = None) -> Covariances:
        """Take them from counts (repeat, time) and expected counts (time,), with time - 1 in the denominator.

        Raises `InvalidInput` for other shapes, fewer than two bins, NaN and what is negative.
        """
        answers = not_negative(counts, "counts", "repeat", "time")
        bins = at_least(answers.shape[1], 2, "a number of bins")
        expected = np.zeros(bins) if predicted is None else fitting(predicted, "expected counts", (bins,))
        answers = answers - answers.mean(axis=1, keepdims=True)
        constant = np.ptp(expected) <= _NOTHING * expected.max()
        expected = np.zeros(bins) if constant else expected - expected.mean()
        scale = 1.0 / (bins - 1)
        return cls(answers @ answers.T * scale, answers @ expected * scale, float(expected @ expected * scale))

    def drawn(self, weights: ArrayLike | None = None) -> tuple[Floats, Floats, Floats, Floats]:
        """Return signal power, Var y, Cov(y, p) and Var p, each (draw,), where repeat n is taken weights[draw, n] times.

        No weights: one draw of every repeat once. The signal power is the mean covariance of two different repeats, which is
        Sahani and Linden's [Var(sum of R) - sum of Var R] / (N (N - 1)); NaN for one repeat. Var y is that power and 1 / N of
        the noise, which for repeats taken once each is the variance of their mean.
        """
        count = len(self.predicted)
        taken = np.ones((1, count)) if weights is None else not_negative(weights, "weights", "draw", "repeat")
        if taken.shape[1] != count:
            raise InvalidInput(
                f"the weights are for {taken.shape[1]} repeats where there are {count}: bring one for each"
            )
        total = taken.sum(axis=1)
        own = np.diag(self.repeats)
        itself = np.square(taken)
        pairs = np.square(total) - itself.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = (taken @ self.repeats * taken).sum(axis=1) - itself @ own
            power = np.where(pairs > 0, power / pairs, np.nan)
            mean_own = taken @ own / total
            answer = mean_own if count == 1 else power + (mean_own - power) / total
            return power, answer, taken @ self.predicted / total, np.full(len(taken), self.prediction)

    def correlations(self, weights: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
        """Return CC_abs, CC_norm and CC_max, each (draw,), NaN where a variance or the signal power is not above zero."""
        power, answer, both, prediction = self.drawn(weights)
        noise = _NOTHING * np.trace(self.repeats)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.where(power > noise, power, np.nan)
            answer = np.where(answer > noise, answer, np.nan)
            prediction = np.where(prediction > 0, prediction, np.nan)
            return both / np.sqrt(answer * prediction), both / np.sqrt(power * prediction), np.sqrt(power / answer)


def signal_power(counts: ArrayLike) -> float:
    """Return the variance over time of the answer free of noise, from counts (repeat, time), in counts squared.

    Unbiased, so a cell that the stimulus does not drive may have less than zero. NaN for one repeat.
    """
    return float(Covariances.of(counts).drawn()[0][0])


def cc(counts: ArrayLike, predicted: ArrayLike) -> Correlation:
    """Correlate expected counts (time,) with the answers of one cell (repeat, time).

    NaN where undefined: a constant prediction, a silent cell, a signal power not above zero (one repeat has none).
    """
    cc_abs, cc_norm, cc_max = (float(value[0]) for value in Covariances.of(counts, predicted).correlations())
    return Correlation(cc_abs=cc_abs, cc_norm=cc_norm, cc_max=cc_max)


@dataclass(frozen=True, slots=True)
class CellCorrelations:
    """The three correlations of every cell."""

    cc_abs: PerCell
    cc_norm: PerCell
    cc_max: PerCell


def cc_by_cell(counts: ArrayLike, predicted: ArrayLike) -> CellCorrelations:
    """Correlate expected counts (time, cell) with the answers (repeat, time, cell), each cell by itself."""
    answers = not_negative(counts, "counts", "repeat", "time", "cell")
    expected = fitting(predicted, "expected counts", answers.shape[1:])
    each = [cc(answers[:, :, cell], expected[:, cell]) for cell in range(answers.shape[2])]
    return CellCorrelations(
        cc_abs=PerCell.of(one.cc_abs for one in each),
        cc_norm=PerCell.of(one.cc_norm for one in each),
        cc_max=PerCell.of(one.cc_max for one in each),
    )


def fev(counts: ArrayLike) -> float:
    """Return the share of all variance that the stimulus explains, (Var R - noise) / Var R, from counts (repeat, time).

    Noise is the variance over repeats, averaged over time. NaN for one repeat or a cell that never varies. Cells below 0.15 are
    usually left out of a mean FEVE.
    """
    total, noise = _variances(not_negative(counts, "counts", "repeat", "time"))
    return (total - noise) / total if total > 0 else np.nan


def feve(counts: ArrayLike, predicted: ArrayLike) -> float:
    """Return the share of the explainable variance that expected counts (time,) explain: 1 - (MSE - noise) / (Var R - noise).

    Without a lower bound: unlike a correlation it punishes wrong scale and offset. NaN for one repeat or nothing explainable.
    """
    answers = not_negative(counts, "counts", "repeat", "time")
    expected = fitting(predicted, "expected counts", (answers.shape[1],))
    total, noise = _variances(answers)
    return float(1 - (np.square(answers - expected).mean() - noise) / (total - noise)) if total > noise else np.nan


def _variances(answers: Floats) -> tuple[float, float]:
    """Return the variance of all answers, and over repeats averaged over time, both unbiased; NaN for one repeat."""
    if len(answers) < 2:
        return np.nan, np.nan
    return float(answers.var(ddof=1)), float(answers.var(axis=0, ddof=1).mean())


@dataclass(frozen=True, slots=True)
class SplitHalf:
    """How the means of two halves of the repeats correlate."""

    half: float
    """As they are, averaged over splits."""
    whole: float
    """What two sets of all repeats would reach, by Spearman and Brown: 2 r / (1 + r)."""


def split_half(counts: ArrayLike, *, splits: int = 100, seed: int = 0) -> SplitHalf:
    """Correlate the mean answers of random halves of the repeats of one cell (repeat, time).

    With an odd number of repeats one is left out of each split. NaN for fewer than two repeats, or silence.
    """
    at_least(splits, 1, "a number of splits")
    between = Covariances.of(counts).repeats
    half = len(between) // 2
    if not half:
        return SplitHalf(np.nan, np.nan)
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(between)), (splits, 1)), axis=1)
    first, second = np.zeros((2, splits, len(between)))
    np.put_along_axis(first, orders[:, :half], 1.0, axis=1)
    np.put_along_axis(second, orders[:, half : 2 * half], 1.0, axis=1)
    r = _mean_defined(_correlated(between, first, second))
    return SplitHalf(half=r, whole=2 * r / (1 + r) if r > -1 else np.nan)


def oracle(counts: ArrayLike) -> float:
    """Return how each answer correlates with the mean of the others, averaged, from counts (repeat, time) of one cell.

    The ceiling of a correlation with single answers. Answers without a spike have no correlation and are left out; NaN if none is
    left or there are fewer than two repeats.
    """
    between = Covariances.of(counts).repeats
    one = np.eye(len(between))
    return _mean_defined(_correlated(between, one, 1.0 - one))


def _correlated(between: Floats, first: Floats, second: Floats) -> Floats:
    """Correlate sums over repeats, rows of `first` with rows of `second`; NaN where one does not vary."""
    noise = _NOTHING * np.trace(between)
    cross = (first @ between * second).sum(axis=1)
    powers = [(side @ between * side).sum(axis=1) for side in (first, second)]
    defined = (powers[0] > noise) & (powers[1] > noise)
    scale = np.sqrt(np.maximum(powers[0], 0) * np.maximum(powers[1], 0))
    return np.asarray(np.divide(cross, scale, out=np.full(len(cross), np.nan), where=defined))


def _mean_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan
