"""Whether two samples of answers to one stimulus can be told apart: by a classifier, or by a kernel.

A classifier two-sample test trains on some repeats and judges others that it has never seen, of both kinds; the unit is the repeat,
for the windows of one repeat are not independent. That a student passes says that *these features* do not betray it: run it on
free samples, beside a control of real against real.

Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017. MMD: Gretton et al., "A kernel two-sample test", JMLR
2012.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engram_fidelity.extras import need
from engram_fidelity.metrics.correlation import rebin
from engram_fidelity.metrics.inputs import Floats, at_least, fitting, not_negative, numbers
from engram_format.errors import InvalidInput

Classifier = Literal["logistic", "boosted"]

_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Windows:
    """How answers are cut into windows: whole numbers of bins, made from seconds."""

    length: int
    """Bins in a window."""
    part: int
    """Bins in a part of a window, of which counts are features of their own."""
    skipped: int
    """Bins at the beginning that are not looked at."""

    @classmethod
    def of(cls, *, bin_s: float, window_s: float = 0.1, part_s: float = 0.02, score_from_s: float = 0.36) -> Windows:
        """Choose windows for bins of `bin_s` seconds, each width rounded to whole bins and a part to what divides the window.

        Raises `InvalidInput` for a bin that is not positive or longer than a window.
        """
        if not 0 < bin_s <= window_s * (1 + 1e-9):
            raise InvalidInput(
                f"bins of {bin_s} s do not fit into windows of {window_s} s: choose narrower bins or longer windows"
            )
        length = max(1, round(window_s / bin_s))
        wanted = max(1, round(part_s / bin_s))
        part = max(size for size in range(1, min(wanted, length) + 1) if length % size == 0)
        return cls(length=length, part=part, skipped=max(0, round(score_from_s / bin_s)))

    def cut(self, counts: ArrayLike) -> Floats:
        """Cut counts (repeat, time, cell) into (repeat, window, bin, cell), dropping an incomplete last window.

        Raises `InvalidInput` where not one window is left.
        """
        answers = not_negative(counts, "counts", "repeat", "time", "cell")
        whole = (answers.shape[1] - self.skipped) // self.length
        if whole < 1:
            raise InvalidInput(
                f"{answers.shape[1]} bins leave no window of {self.length} after the first {self.skipped}: bring longer trials"
            )
        kept = answers[:, self.skipped : self.skipped + whole * self.length]
        return kept.reshape(len(answers), whole, self.length, answers.shape[2])


def window_features(counts: ArrayLike, windows: Windows) -> Floats:
    """Describe each window by what spike generators differ in: (repeat, window, feature), from counts (repeat, time, cell).

    Of each cell its count, the counts in parts, the products of bins one and two apart (bursts, refractoriness) and the number of
    bins with several spikes; of each pair of cells the product of their counts in the same bin (synchrony).
    """
    cut = windows.cut(counts)
    cells = cut.shape[3]
    parts = rebin(cut, windows.part, 2).reshape(*cut.shape[:2], -1)
    beside = [(cut[:, :, lag:] * cut[:, :, : max(0, windows.length - lag)]).sum(axis=2) for lag in (1, 2)]
    together = np.einsum("nwbi,nwbj->nwij", cut, cut, optimize=True)[:, :, *np.triu_indices(cells, 1)]
    return np.concatenate([cut.sum(axis=2), parts, *beside, (cut > 1).sum(axis=2), together], axis=2)


@dataclass(frozen=True, slots=True)
class C2st:
    """How well a classifier tells real answers from others, on repeats it was not trained on. Chance is one half."""

    auc: float
    """Probability that a real window is ranked above another's, over all windows; the mean over folds."""
    matched_auc: float
    """The same among windows at the same place of the stimulus: what a forced choice between two answers would get right."""
    accuracy: float
    """Share of windows put where they belong, real and other weighing the same."""
    interval: tuple[float, float]
    """Of `auc`, 95 %, by drawing repeats anew with the classifiers kept; the mean of the folds' own intervals.

    Folds judge each other's training data, so that they err together: their mean is hardly surer than one of them.
    """
    p_value: float
    """Of "the repeats are exchangeable": twice the mean over folds of permuting which judged repeats are real."""
    classifier: Classifier
    folds: int
    windows: int
    """In each repeat."""


def c2st(
    real: ArrayLike,
    other: ArrayLike,
    *,
    bin_s: float,
    classifier: Classifier = "logistic",
    expected: ArrayLike | None = None,
    seed: int = 0,
    folds: int = 2,
    draws: int = 1000,
    windows: Windows | None = None,
) -> C2st:
    """Try to tell answers `real` (repeat, time, cell) from `other` (repeat, time, cell) to the same stimulus, in bins of `bin_s`.

    The classifier is told what the stimulus makes one expect in each window, the same for both: `expected` counts (time, cell),
    which should come from the student and not from the samples judged; if absent, the mean over the repeats trained on, real and
    other alike. Repeats are dealt into folds by `seed`, each fold judged by a classifier trained on the rest. Needs scikit-learn.

    Raises `InvalidInput` for answers that do not fit each other, or fewer than two repeats in a fold.
    """
    cut = windows or Windows.of(bin_s=bin_s)
    sides = [
        not_negative(array, name, "repeat", "time", "cell")
        for array, name in ((real, "counts"), (other, "other counts"))
    ]
    if sides[0].shape[1:] != sides[1].shape[1:]:
        raise InvalidInput(
            f"the answers have {sides[0].shape[1:]} and {sides[1].shape[1:]} bins and cells: compare answers to one stimulus"
        )
    at_least(folds, 2, "a number of folds")
    if (fewest := min(len(side) for side in sides)) < 2 * folds:
        raise InvalidInput(
            f"{fewest} repeats cannot be judged in {folds} folds of two at least: bring {2 * folds} of each kind"
        )
    features = [window_features(side, cut) for side in sides]
    told = (
        None
        if expected is None
        else cut.cut(fitting(expected, "expected counts", sides[0].shape[1:])[None]).sum(axis=2)[0]
    )
    generator = np.random.default_rng(seed)
    dealt = [generator.permutation(len(side)) % folds for side in sides]
    judged = [
        _judge(features, dealt, fold, told, sides[0].shape[2], _factory(classifier, seed)) for fold in range(folds)
    ]
    edges = np.mean([np.quantile(fold.redrawn(generator, draws), [0.025, 0.975]) for fold in judged], axis=0)
    return C2st(
        auc=float(np.mean([fold.auc for fold in judged])),
        matched_auc=float(np.mean([fold.matched_auc for fold in judged])),
        accuracy=float(np.mean([fold.accuracy for fold in judged])),
        interval=(float(edges[0]), float(edges[1])),
        p_value=min(1.0, 2 * float(np.mean([fold.p_value(generator, draws) for fold in judged]))),
        classifier=classifier,
        folds=folds,
        windows=features[0].shape[1],
    )


def conditioned(features: Floats, told: Floats) -> Floats:
    """Put beside features (repeat, window, feature) what the stimulus makes one expect, `told` (window, cell), and the differences.

    The first features are the counts of the cells.
    """
    cells = told.shape[1]
    shared = np.broadcast_to(told, (len(features), *told.shape))
    return np.concatenate([features, shared, features[..., :cells] - shared], axis=2)


def _factory(classifier: Classifier, seed: int) -> Callable[[], Any]:
    if classifier == "logistic":
        logistic = need("sklearn.linear_model", "certify").LogisticRegression
        return lambda: logistic(C=0.1, max_iter=500)
    if classifier == "boosted":
        boosted = need("sklearn.ensemble", "certify").HistGradientBoostingClassifier
        return lambda: boosted(
            max_iter=60, max_leaf_nodes=12, learning_rate=0.1, early_stopping=False, random_state=seed
        )
    raise InvalidInput(f"there is no classifier {classifier!r}: choose logistic or boosted")


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """The judged repeats of one fold, real ones first, compared each with each."""

    above: Floats
    """The share of pairs of windows in which the row's repeat is ranked above the column's, ties one half: (repeat, repeat)."""
    real: int
    matched_auc: float
    accuracy: float

    @property
    def auc(self) -> float:
        return float(self.above[: self.real, self.real :].mean())

    def redrawn(self, generator: np.random.Generator, draws: int) -> Floats:
        """Return the AUC with real and other repeats drawn anew, (draw,)."""
        others = len(self.above) - self.real
        first = generator.multinomial(self.real, np.full(self.real, 1 / self.real), size=draws)
        second = generator.multinomial(others, np.full(others, 1 / others), size=draws)
        total = (first @ self.above[: self.real, self.real :] * second).sum(axis=1)
        return np.asarray(total / (self.real * others))

    def p_value(self, generator: np.random.Generator, draws: int) -> float:
        """Return how often an AUC as large comes of calling random repeats real, itself counted once."""
        count = len(self.above)
        called = np.zeros((draws, count))
        called[:, : self.real] = 1.0
        called = generator.permuted(called, axis=1)
        chance = (called @ self.above * (1 - called)).sum(axis=1) / (self.real * (count - self.real))
        return (1 + int((chance >= self.auc - 1e-12).sum())) / (1 + draws)


def _judge(
    features: list[Floats],
    dealt: list[NDArray[np.int64]],
    fold: int,
    told: Floats | None,
    cells: int,
    make: Callable[[], Any],
) -> _Fold:
    """Train on the repeats outside the fold and judge those in it."""
    train = [side[deal != fold] for side, deal in zip(features, dealt, strict=True)]
    judged = [side[deal == fold] for side, deal in zip(features, dealt, strict=True)]
    if told is None:
        told = np.mean([side[..., :cells].mean(axis=0) for side in train], axis=0)
    train = [conditioned(side, told) for side in train]
    judged = [conditioned(side, told) for side in judged]
    rows = np.concatenate([side.reshape(-1, side.shape[2]) for side in train])
    truth = np.repeat([1, 0], [side.shape[0] * side.shape[1] for side in train])
    middle, spread = rows.mean(axis=0), rows.std(axis=0) + _TINY
    weights = np.where(truth == 1, 1 / truth.sum(), 1 / (1 - truth).sum()) * len(truth) / 2
    with need("threadpoolctl", "certify").threadpool_limits(1):
        # One thread: sums come out the same on every machine, and small fits do not wait for busy cores.
        model = make().fit((rows - middle) / spread, truth, sample_weight=weights)
    scores = [
        np.asarray(model.decision_function((side.reshape(-1, side.shape[2]) - middle) / spread)).reshape(side.shape[:2])
        for side in judged
    ]
    right = [
        (scores[0] > 0).mean() + 0.5 * (scores[0] == 0).mean(),
        (scores[1] < 0).mean() + 0.5 * (scores[1] == 0).mean(),
    ]
    matched = [_above(scores[0][:, [window]], scores[1][:, [window]]).mean() for window in range(scores[0].shape[1])]
    every = np.concatenate(scores)
    return _Fold(
        above=_above(every, every),
        real=len(scores[0]),
        matched_auc=float(np.mean(matched)),
        accuracy=float(np.mean(right)),
    )


def _above(first: Floats, second: Floats) -> Floats:
    """Return in what share of pairs of windows each repeat of `first` (repeat, window) is ranked above each of `second`.

    Ties are one half. By ranks in each sorted repeat, so that no array holds all pairs of windows of all repeats.
    """
    ordered = np.sort(second, axis=1)
    flat = first.ravel()
    shares = [np.searchsorted(row, flat, "left") + np.searchsorted(row, flat, "right") for row in ordered]
    below = np.stack(shares, axis=1).reshape(*first.shape, len(second)).sum(axis=1)
    return np.asarray(below / (2.0 * first.shape[1] * second.shape[1]))


@dataclass(frozen=True, slots=True)
class Mmd:
    """The squared maximum mean discrepancy of two samples, and how often chance gives as much."""

    mmd2: float
    """Unbiased: about zero, also below it, for samples of one distribution."""
    p_value: float
    bandwidth: float
    """Of the Gaussian kernel exp(-d^2 / (2 bandwidth^2)), in the features' units."""


def mmd2_unbiased(first: ArrayLike, second: ArrayLike, *, bandwidth: float | None = None) -> float:
    """Return the unbiased MMD^2 of samples (sample, feature) with a Gaussian kernel.

    The sums of k(x, x') / (m (m - 1)) and k(y, y') / (n (n - 1)) over different pairs, less that of 2 k(x, y) / (m n). The
    bandwidth is the median distance of the pooled samples unless given. NaN for a sample of one. Of samples (repeat, window,
    feature), the mean over windows: what differs under the same piece of stimulus.
    """
    kernel, count, _ = _kernel(first, second, bandwidth)
    return _mmd2(kernel, np.arange(len(kernel))[None] < count).item()


def mmd_test(
    first: ArrayLike, second: ArrayLike, *, bandwidth: float | None = None, permutations: int = 500, seed: int = 0
) -> Mmd:
    """Return the unbiased MMD^2 of two samples and its p-value, by permuting which sample (repeat) is of which kind."""
    kernel, count, width = _kernel(first, second, bandwidth)
    called = np.tile(np.arange(len(kernel)) < count, (1 + at_least(permutations, 1, "a number of permutations"), 1))
    called[1:] = np.random.default_rng(seed).permuted(called[1:], axis=1)
    values = _mmd2(kernel, called)
    if np.isnan(values[0]):
        return Mmd(np.nan, np.nan, width)
    return Mmd(mmd2=float(values[0]), p_value=float((values >= values[0] - 1e-12).mean()), bandwidth=width)


def _kernel(first: ArrayLike, second: ArrayLike, bandwidth: float | None) -> tuple[Floats, int, float]:
    """Return the kernel between all samples, the mean over windows, how many are of the first kind, and the bandwidth."""
    sides = [numbers(side, "samples") for side in (first, second)]
    if {side.ndim for side in sides} - {2, 3} or sides[0].shape[1:] != sides[1].shape[1:]:
        raise InvalidInput(
            f"the samples have the shapes {sides[0].shape} and {sides[1].shape}: bring both as (sample, feature)"
        )
    every = np.concatenate(sides)
    every = every[:, None] if every.ndim == 2 else every
    norms = np.square(every).sum(axis=2)
    far = np.empty((every.shape[1], len(every), len(every)))
    for window in range(every.shape[1]):
        x = every[:, window]
        far[window] = np.maximum(norms[:, window, None] + norms[None, :, window] - 2 * (x @ x.T), 0)
    if bandwidth is None:
        apart = far[:, *np.triu_indices(len(every), 1)]
        bandwidth = float(np.sqrt(np.median(apart))) or float(np.sqrt(apart.mean())) or 1.0
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise InvalidInput(f"a bandwidth of {bandwidth} is none: give a positive distance, or none for the median")
    return np.exp(far / (-2 * bandwidth**2)).mean(axis=0), len(sides[0]), bandwidth


def _mmd2(kernel: Floats, called: NDArray[np.bool_]) -> Floats:
    """Return MMD^2 for each row of `called` (draw, sample), which says who is of the first kind; NaN for a sample of one."""
    first = called.astype(np.float64)
    second = 1.0 - first
    m, n = first.sum(axis=1), second.sum(axis=1)
    own = np.diag(kernel)
    toward_first, toward_second = first @ kernel, second @ kernel
    with np.errstate(divide="ignore", invalid="ignore"):
        within = ((toward_first * first).sum(axis=1) - first @ own) / (m * (m - 1))
        beyond = ((toward_second * second).sum(axis=1) - second @ own) / (n * (n - 1))
        value = within + beyond - 2 * (toward_first * second).sum(axis=1) / (m * n)
    return np.where((m > 1) & (n > 1), value, np.nan)
