"""Quick students: the tier `fast` with few updates, for questions about a recording rather than about its network.

They are made in seconds, and tell how much more data teach and where students of the same data guess. On the retina they come to
within 0.01 of the correlation of the whole tier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engram_fidelity.distill import fast
from engram_fidelity.distill.basis import Past
from engram_fidelity.distill.budget import Budget, no_progress
from engram_fidelity.distill.soft import spikes
from engram_fidelity.distill.split import parted
from engram_fidelity.distill.target import CPU_STREAM
from engram_fidelity.distill.tiers import check_can_teach
from engram_fidelity.experiment import Counts, Experiment, Stimulus, Trials
from engram_fidelity.one_thread import on_one_thread

UPDATES: Final = 300
_MOST: Final = 255


@dataclass(frozen=True, slots=True, eq=False)
class Quick:
    """A quick student; a `RateResponder` whose counts are Poisson's."""

    layers: fast.Layers
    like: Experiment
    """What it learned from: bins, channels and cells are those of it."""

    @property
    def channels(self) -> int:
        """How many values one bin of its stimulus has."""
        return len(self.like.channels)

    @property
    def cells(self) -> int:
        """How many cells answer."""
        return len(self.like.cells)

    @on_one_thread
    def expected(self, stimulus: Stimulus, *, seed: int) -> Stimulus:
        """Return the expected count of each cell in each bin, (time, cell); the seed changes nothing."""
        nothing = np.zeros((1, len(stimulus), self.cells), np.uint8)
        asked = replace(self.like, trials=(Trials("asked", np.asarray(stimulus, np.float32), nothing),))
        blocks = Past(asked, self.layers.scale).blocks()
        return np.concatenate([self.layers.rate(features) for features, _ in blocks])

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Draw Poisson counts around the expected ones."""
        rate = self.expected(stimulus, seed=seed)
        drawn = np.random.default_rng(seed).poisson(rate, (repeats, *rate.shape))
        return np.minimum(drawn, _MOST).astype(np.uint8)


@on_one_thread
def quick_student(experiment: Experiment, *, seed: int) -> Quick:
    """Make a quick student of all trials, repeated ones too; the same seed gives the same student on one machine.

    Raises `InvalidInput` where no cell fired, the stimulus never changes, or there is too little to learn from.
    """
    training, validation = parted(experiment, np.random.default_rng([seed, 0x901C]))
    check_can_teach(training)
    fitted = fast.fit(
        training,
        validation,
        targets=spikes(training),
        target=CPU_STREAM,
        seed=seed,
        budget=Budget(UPDATES),
        progress=no_progress,
    )
    return Quick(fitted.model, training)
