"""Networks whose truth is known: what they answer on average, and how they scatter about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engram_fidelity.experiment import Experiment, Trials

CELLS = 3
BIN_S = 0.005
_PAUSE = 2
"""Bins in which a regular cell is silent after a spike."""


def stimulus(bins: int = 1400, *, seed: int = 0, channels: int = 4) -> np.ndarray:
    steps = np.random.default_rng(seed).random((bins // 12 + 1, channels)) < 0.5
    return np.repeat(steps, 12, axis=0)[:bins].astype(np.float32)


@dataclass(frozen=True)
class Donor:
    """Rates from a leaky memory of the stimulus; cells are silent for 10 ms after a spike, so that counts scatter little."""

    seed: int = 3
    gain: float = 1.0
    """Of all rates."""
    mixed: float = 0.0
    """The share of the drive that is another network's."""
    channels: int = 4
    cells: int = CELLS

    def expected(self, shown, *, seed=0):
        """Return the chance to fire in each bin, exactly: that of firing, had it not fired in the bins before."""
        hazard = self._hazard(shown)
        chance = np.zeros_like(hazard)
        for now in range(len(hazard)):
            chance[now] = hazard[now] * (1 - chance[max(0, now - _PAUSE) : now].sum(axis=0))
        return chance.astype(np.float32)

    def sample(self, shown, *, repeats, seed):
        hazard = self._hazard(shown)
        would = np.random.default_rng(seed).random((repeats, *hazard.shape)) < hazard
        counts = np.zeros(would.shape, np.uint8)
        for now in range(len(hazard)):
            counts[:, now] = would[:, now] & ~counts[:, max(0, now - _PAUSE) : now].any(axis=1)
        return counts

    def _hazard(self, shown):
        drive = (1 - self.mixed) * self._drive(shown, self.seed) + self.mixed * self._drive(shown, self.seed + 100)
        return 1 - np.exp(-self.gain * 0.4 / (1 + np.exp(-5 * (drive - 0.25))))

    def _drive(self, shown, seed):
        random = np.random.default_rng(seed)
        weights = random.normal(0, 1.6, (self.channels, self.cells))
        decays = random.uniform(0.85, 0.95, self.cells)
        drive, now = np.zeros((len(shown), self.cells)), np.zeros(self.cells)
        for place, row in enumerate((shown - 0.5) @ weights):
            now = decays * now + (1 - decays) * row
            drive[place] = now
        return drive


@dataclass(frozen=True)
class PoissonStudent:
    """What a donor answers on average, exactly, and scatter that is Poisson's."""

    donor: Donor

    @property
    def channels(self) -> int:
        return self.donor.channels

    @property
    def cells(self) -> int:
        return self.donor.cells

    def expected(self, shown, *, seed):
        return self.donor.expected(shown)

    def sample(self, shown, *, repeats, seed):
        rate = self.donor.expected(shown)
        return np.random.default_rng(seed).poisson(rate, (repeats, *rate.shape)).astype(np.uint8)


def experiment(donor, *, repeats: int = 50, seed: int = 11, training: int = 0, bins: int = 1400) -> Experiment:
    """Show a donor one stimulus many times, and others once."""
    trials = []
    for number in range(training):
        shown = stimulus(bins, seed=100 + number)
        trials.append(Trials(f"train-{number}", shown, donor.sample(shown, repeats=1, seed=seed + 1 + number)))
    shown = stimulus(bins, seed=99)
    trials.append(Trials("held-out", shown, donor.sample(shown, repeats=repeats, seed=seed)))
    channels = tuple(f"pixel {number}" for number in range(donor.channels))
    return Experiment(tuple(trials), BIN_S, channels, tuple(f"cell {number}" for number in range(donor.cells)), "1")
