"""Where presentations come from: a recording that is played as if it happened now, or a donor that is stimulated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts, Experiment, Stimulus, Trials
from engram_fidelity.responder import Responder
from engram_fidelity.seeds import derived
from engram_format.errors import InvalidInput


@dataclass(frozen=True, slots=True, eq=False)
class Presentation:
    """One stimulus, shown once to a living network, and what it answered."""

    stimulus_id: str
    stimulus: Stimulus
    counts: NDArray[np.uint8]
    """(time, cell)"""
    start_s: float
    """When it began, since the run began."""


class Aging(Protocol):
    """A donor that changes over its life."""

    def at(self, elapsed_s: float) -> Responder:
        """Return it as it is then."""
        ...


def recorded(experiment: Experiment, *, seed: int | None = None) -> Iterator[Presentation]:
    """Play a recording as if it were live: every presentation once, stimuli that were repeated in turn.

    Without a seed in the order of the recording's repeats: first the first repeat of each stimulus, then the second. With one,
    in an order that it shuffles.
    """
    order = [(repeat, number) for number, trials in enumerate(experiment.trials) for repeat in range(trials.repeats)]
    order.sort()
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    elapsed = 0.0
    for repeat, number in order:
        trials = experiment.trials[number]
        yield Presentation(trials.stimulus_id, trials.stimulus, trials.counts[repeat], elapsed)
        elapsed += trials.bins * experiment.bin_s


def living(donor: Aging, stimuli: Iterable[tuple[str, Stimulus]], *, bin_s: float, seed: int) -> Iterator[Presentation]:
    """Show stimuli to a donor one after another, each once; the donor grows older meanwhile."""
    elapsed = 0.0
    for number, (name, stimulus) in enumerate(stimuli):
        drawn = donor.at(elapsed).sample(stimulus, repeats=1, seed=derived(seed, number))
        yield Presentation(name, stimulus, drawn[0], elapsed)
        elapsed += len(stimulus) * bin_s


@dataclass(slots=True, eq=False)
class Replayed:
    """A responder that answers with repeats of a recording, each used once: the control of real against real.

    Knows the stimuli of its recording and no others. What it expects is the mean of what it has answered so far, nothing of
    what is to come.
    """

    trials: dict[str, Trials]
    used: dict[str, int]

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Answer with the trials of an experiment, in their order."""
        by_stimulus = {_key(trials.stimulus): trials for trials in experiment.trials}
        return cls(by_stimulus, dict.fromkeys(by_stimulus, 0))

    @property
    def channels(self) -> int:
        """Channels of the recording's stimulus."""
        return int(next(iter(self.trials.values())).stimulus.shape[1])

    @property
    def cells(self) -> int:
        """Cells of the recording."""
        return int(next(iter(self.trials.values())).counts.shape[2])

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Return the next repeats; raises `InvalidInput` where there are no more, or none of this stimulus."""
        trials, key = self._of(stimulus)
        first = self.used[key]
        if first + repeats > trials.repeats:
            raise InvalidInput(
                f"stimulus {trials.stimulus_id!r} has {trials.repeats} repeats and {first + repeats} are asked for: "
                "ask for fewer draws, or show it less often"
            )
        self.used[key] = first + repeats
        return trials.counts[first : first + repeats]

    def expected(self, stimulus: Stimulus, *, seed: int) -> Stimulus:
        """Return the mean of the repeats that have been used, smoothed over five bins; of none, the recording's mean rate."""
        trials, key = self._of(stimulus)
        before = trials.counts[: self.used[key]]
        if not len(before):
            return np.full(trials.counts.shape[1:], trials.counts.mean(), np.float32)
        mean, kernel = before.mean(axis=0), np.hanning(7)[1:-1]
        kernel /= kernel.sum()
        return np.stack([np.convolve(cell, kernel, mode="same") for cell in mean.T], axis=1).astype(np.float32)

    def _of(self, stimulus: Stimulus) -> tuple[Trials, str]:
        key = _key(stimulus)
        if key not in self.trials:
            raise InvalidInput(
                "a recording answers the stimuli that were shown in it, and this was not: ask a student instead"
            )
        return self.trials[key], key


def _key(stimulus: Stimulus) -> str:
    return hashlib.sha256(stimulus.tobytes()).hexdigest()
