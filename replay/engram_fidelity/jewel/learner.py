"""How a student learns while it sits beside the network: from what both did in the past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts, Stimulus
from engram_fidelity.jewel.source import Presentation
from engram_fidelity.responder import RateResponder


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A presentation, and what the student expected of it before it had learned anything."""

    trial: Presentation
    expected: Stimulus
    """(time, cell)"""


class Learner(Protocol):
    """Whoever can make a better student out of presentations."""

    def learned(self, student: RateResponder, past: list[Lesson]) -> RateResponder:
        """Return the student after learning from all presentations of the past; `student` is the one before any learning."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A student whose cells fire more or less often than it says, each by a factor of its own.

    Where the factor is below one, spikes are left out at random; where it is above, spikes are added at random. Neither changes
    how spikes follow each other more than it must.
    """

    student: RateResponder
    gains: NDArray[np.float64]
    """(cell,)"""

    @property
    def channels(self) -> int:
        """Those of the student."""
        return self.student.channels

    @property
    def cells(self) -> int:
        """Those of the student."""
        return self.student.cells

    def expected(self, stimulus: Stimulus, *, seed: int = 0) -> Stimulus:
        """Return the student's expected counts, times the gains."""
        return (self.student.expected(stimulus, seed=seed) * self.gains).astype(np.float32)

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Draw from the student, then leave out or add spikes."""
        drawn = self.student.sample(stimulus, repeats=repeats, seed=seed)
        rng = np.random.default_rng([seed, 0xCA1B])
        kept = rng.binomial(drawn, np.minimum(self.gains, 1.0))
        extra = np.maximum(self.gains - 1, 0) * self.student.expected(stimulus, seed=seed)
        return np.asarray(np.minimum(kept + rng.poisson(extra, drawn.shape), 255), np.uint8)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Learns one gain for each cell: the spikes that were seen over those that were expected."""

    trust: float = 4.0
    """Spikes that a cell must have shown before its gain counts half."""

    def learned(self, student: RateResponder, past: list[Lesson]) -> Calibrated:
        """Return the student with gains from all presentations."""
        seen = np.sum([lesson.trial.counts.sum(axis=0, dtype=np.float64) for lesson in past], axis=0)
        wanted = np.sum([lesson.expected.sum(axis=0, dtype=np.float64) for lesson in past], axis=0)
        return Calibrated(student, (seen + self.trust) / (wanted + self.trust))


def loss(expected: Stimulus, trial: Presentation, *, skip: int) -> float:
    """Return the Poisson loss of expected counts (time, cell) on a presentation, in nats per spike, but for terms of counts alone.

    The first `skip` bins are not scored.
    """
    expected = np.maximum(expected[skip:].astype(np.float64), 1e-9)
    counts = trial.counts[skip:].astype(np.float64)
    return float((expected - counts * np.log(expected)).sum() / max(1.0, counts.sum()))
