"""Transfer: a second network is stimulated until it answers as a first one would.

Nothing is known of the second network but its answers. An ensemble is fitted to them; through it, a stimulation is sought for
each stimulus of the first, within the limits of amplitude, so that the second is expected to answer as the student of the
first does (least Kullback-Leibler divergence of Poisson counts, by gradient). The stimulations found are tried on the second
network, the ensemble learns from what came, and seeks again: a closed loop.

How alike the two became is judged on stimuli that were not in the loop. For these a stimulation is found through the ensemble
alone, and fresh answers of both networks are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts, Stimulus
from engram_fidelity.extract.ensemble import Ensemble, fit
from engram_fidelity.extract.history import History
from engram_fidelity.one_thread import on_one_thread
from engram_fidelity.responder import RateResponder, Responder
from engram_fidelity.seeds import derived
from engram_fidelity.twosample import Windows, c2st, mmd2_unbiased
from engram_format.errors import InvalidInput

Float = NDArray[np.float64]

_STEPS: Final = 120
_MOST_ROUNDS: Final = 1000
_MOST_ROWS: Final = 40_000
"""Bins of answers that the ensemble is fitted to; of more, the newest count."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least and the greatest amplitude of a stimulation. Raises `InvalidInput` where there is nothing between them."""

    least: float = 0.0
    greatest: float = 1.0

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            ends = np.array([self.least, self.greatest, self.greatest - self.least]).astype(np.float32)
        if not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise InvalidInput(
                f"amplitudes from {self.least} to {self.greatest} leave no choice: give a least and a greater one, both of which "
                "32 bits hold"
            )


@dataclass(frozen=True, slots=True)
class Likeness:
    """How far apart the answers of two networks are, each given its own stimulation, on stimuli held out."""

    mmd2: float
    """Unbiased squared maximum mean discrepancy of counts in windows, mean over windows; about 0 for the same distribution."""
    auc: float
    """How well a logistic classifier tells them apart; 0.5 is not at all."""
    kl_bits_per_spike: float
    """Kullback-Leibler divergence of Poisson counts, of the first network's expectation from the second's."""


@dataclass(frozen=True, slots=True, eq=False)
class Transferred:
    """What a transfer came to."""

    before: Likeness
    """With the first network's stimuli given to the second as they are."""
    after: Likeness
    course: tuple[float, ...]
    """KL per spike in bits on the stimuli of the loop, by what the second network answered, before and after each round."""
    queries: int
    """How many stimulations the second network was given in the loop."""
    stimulations: Stimulus
    """Those found for the held-out stimuli: (stimulus, time, channel)."""


@on_one_thread
def transfer(
    source: RateResponder,
    target: Responder,
    stimuli: Stimulus,
    held_out: Stimulus,
    *,
    bin_s: float,
    limits: Limits | None = None,
    history: History | None = None,
    rounds: int = 4,
    repeats: int = 4,
    judged_repeats: int = 24,
    window_bins: int = 1,
    skip_bins: int = 0,
    seed: int = 0,
    told: Callable[[int, float], None] = lambda _round, _kl: None,
) -> Transferred:
    """Find stimulations of `target` with which it answers as `source` does, cell for cell.

    `stimuli` and `held_out` are (stimulus, time, channel) of the source. `history` is how much of the past the ensemble sees.
    Likeness is judged in windows of `window_bins`, without the first `skip_bins` of each stimulus. `told` hears the number of each
    round and its KL. Raises `InvalidInput` for networks with different numbers of cells.
    """
    if source.cells != target.cells:
        raise InvalidInput(
            f"the first network has {source.cells} cells and the second {target.cells}: choose as many of each, in the order in "
            "which they are to match"
        )
    if not 1 <= rounds <= _MOST_ROUNDS:
        raise InvalidInput(f"{rounds} rounds are no loop: let there be from 1 to {_MOST_ROUNDS}")
    allowed = limits or Limits()
    loop = _Loop(source, target, allowed, history or History.none(), repeats, seed)
    wanted = _expectations(source, stimuli, seed=seed)
    tried = _as_is(stimuli, target.channels, allowed)
    course = [loop.ask(tried, wanted), loop.ask(_explored(tried, allowed, seed=seed), None)][:1]
    told(0, course[0])
    for number in range(rounds):
        ensemble = loop.learned(number)
        tried = loop.sought(ensemble, tried, wanted)
        course.append(loop.ask(tried, wanted))
        told(number + 1, course[-1])
    ensemble = loop.learned(rounds)
    plain = _as_is(held_out, target.channels, allowed)
    found = loop.sought(ensemble, plain, _expectations(source, held_out, seed=seed + 1))
    windows = Windows(length=window_bins, part=1, skipped=0)
    judge = _Judge(source, target, held_out, judged_repeats, windows, skip_bins, bin_s, seed)
    return Transferred(judge.likeness(plain), judge.likeness(found), tuple(course), loop.queries, found)


class _Loop:
    """The closed loop: what was given to the target, what it answered, and what was learned of it."""

    def __init__(
        self, source: RateResponder, target: Responder, limits: Limits, history: History, repeats: int, seed: int
    ) -> None:
        self.target, self.limits, self.history, self.repeats, self.seed = target, limits, history, repeats, seed
        self.features: list[Float] = []
        self.counts: list[Float] = []
        self.queries = 0

    def ask(self, stimulations: Stimulus, wanted: Float | None) -> float:
        """Give stimulations to the target and keep the answers; return how far they are from what is wanted, in bits per spike."""
        heard = []
        for stimulation in stimulations:
            answers = self.target.sample(stimulation, repeats=self.repeats, seed=derived(self.seed, 3, self.queries))
            self.queries += 1
            self.features.append(self.history.of(stimulation))
            self.counts.append(answers.mean(axis=0, dtype=np.float64))
            heard.append(self.counts[-1])
        while sum(map(len, self.counts[1:])) >= _MOST_ROWS:  # older ones are not learned from any more
            del self.features[0], self.counts[0]
        return float("nan") if wanted is None else kl_per_spike(wanted, np.stack(heard) + 0.5 / self.repeats)

    def learned(self, number: int) -> Ensemble:
        """Fit to what the target has answered so far."""
        features, counts, rows = [], [], 0
        for feature, count in zip(reversed(self.features), reversed(self.counts), strict=True):
            features.append(feature)
            counts.append(count)
            rows += len(feature)
            if rows >= _MOST_ROWS:
                break
        group = np.repeat(np.arange(len(features)), [len(feature) for feature in features])
        fitted = fit(
            np.concatenate(features),
            np.concatenate(counts),
            group,
            seed=derived(self.seed, 4, number),
            updates=400,
            decay=1.0,
        )
        return fitted.calibrated(np.concatenate(features), np.concatenate(counts))

    def sought(self, ensemble: Ensemble, begin: Stimulus, wanted: Float) -> Stimulus:
        """Seek stimulations (stimulus, time, channel) for which the ensemble expects what is wanted; start where one stands."""
        found = begin.astype(np.float64)
        first, second = np.zeros_like(found), np.zeros_like(found)
        reach = self.limits.greatest - self.limits.least
        for step in range(_STEPS):
            features = self.history.of(found.astype(np.float32))
            flat = features.reshape(-1, features.shape[2])
            force = 1 - wanted.reshape(len(flat), -1) / ensemble.expected(flat)
            pull = ensemble.pull(flat, force).reshape(features.shape)
            slope = self.history.back(pull, found.shape[2])
            first += 0.1 * (slope - first)
            second += 0.01 * (slope**2 - second)
            ahead = first / (1 - 0.9 ** (step + 1)) / (np.sqrt(second / (1 - 0.99 ** (step + 1))) + 1e-8)
            found = np.clip(found - 0.05 * reach * (1 - step / _STEPS) * ahead, self.limits.least, self.limits.greatest)
        return found.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Compares fresh answers of both networks to held-out stimuli."""

    source: RateResponder
    target: Responder
    stimuli: Stimulus
    repeats: int
    windows: Windows
    skip: int
    bin_s: float
    seed: int

    def likeness(self, stimulations: Stimulus) -> Likeness:
        """Compare the source under its stimuli with the target under stimulations; stimuli stand one after another in time."""
        own = self._answers(self.source, self.stimuli, 5)
        other = self._answers(self.target, stimulations, 6)
        expected = np.concatenate(
            [self.source.expected(one, seed=derived(self.seed, 7))[self.skip :] for one in self.stimuli]
        ).astype(np.float64)
        samples = [self.windows.cut(answers).sum(axis=2) for answers in (own, other)]
        told = c2st(own, other, bin_s=self.bin_s, expected=expected, seed=self.seed, windows=self.windows, draws=50)
        heard = other.mean(axis=0, dtype=np.float64) + 0.5 / self.repeats
        return Likeness(mmd2_unbiased(samples[0], samples[1]), told.auc, kl_per_spike(expected, heard))

    def _answers(self, network: Responder, stimuli: Stimulus, part: int) -> Counts:
        answers = [
            network.sample(one, repeats=self.repeats, seed=derived(self.seed, part, number))[:, self.skip :]
            for number, one in enumerate(stimuli)
        ]
        return np.concatenate(answers, axis=1)


def kl_per_spike(expected: Float, other: Float) -> float:
    """Return the divergence of Poisson counts with expectations `expected` from those with `other`, in bits per expected spike.

    Sum of e ln(e / o) - e + o over all, divided by the sum of e; NaN where nothing is expected.
    """
    own = np.maximum(expected, 1e-6)
    total = float(own.sum())
    return float((own * np.log(own / np.maximum(other, 1e-6)) - own + other).sum() / (total * np.log(2)))


def _expectations(source: RateResponder, stimuli: Stimulus, *, seed: int) -> Float:
    """Return what the source is expected to answer: (stimulus, time, cell)."""
    return np.stack([source.expected(one, seed=seed) for one in stimuli]).astype(np.float64)


def _as_is(stimuli: Stimulus, channels: int, limits: Limits) -> Stimulus:
    """Give the first network's stimuli to the second, channel for channel; what it lacks or has too much of is left out or 0."""
    given = np.zeros((*stimuli.shape[:2], channels), np.float32)
    shared = min(channels, stimuli.shape[2])
    given[..., :shared] = stimuli[..., :shared]
    return np.clip(given, limits.least, limits.greatest).astype(np.float32)


def _explored(stimuli: Stimulus, limits: Limits, *, seed: int) -> Stimulus:
    """Vary stimuli, to learn what the target answers elsewhere: channels shuffled, and amplitudes scaled at random."""
    rng = np.random.default_rng([seed, 0xE819])
    order = np.stack([rng.permutation(stimuli.shape[2]) for _ in stimuli])
    shuffled = np.take_along_axis(stimuli, order[:, None, :], axis=2)
    return np.clip(shuffled * rng.uniform(0.5, 1.5, (len(stimuli), 1, 1)), limits.least, limits.greatest).astype(
        np.float32
    )
