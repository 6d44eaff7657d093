"""A cell that remembers when it last fired: spikes one by one, each less or more likely for the ages of those before it.

A bin is cut into sub-steps so short that a cell fires at most once in each. In a sub-step its hazard is

    log hazard = (drive + 4) (1 + gain(age of the last spike)) - 4 + sum over the last spikes of table(its age) + latents

bent so that it stays below a ceiling, and it fires with probability 1 - exp(-hazard). Tables and gain are lines of pieces over
the age in sub-steps, which a refractory period and bursts both fit. Latents are few, slow noises that all cells hear, each with
a weight of its own: what makes neighbours fire together beyond what the stimulus explains. No cell hears another's spikes, so
that a free run cannot blow up (Mahuas et al., NeurIPS 2020).

The same equations stand in a graph in `spiking_graph`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.graph import F32, GruWeights

SPAN: Final = 180
"""The age in sub-steps, 0.3 s of 600 a second, from which on a spike is forgotten; no spike at all is as old."""
REMEMBERED: Final = 3
"""How many of a cell's last spikes count."""
CEILING: Final = 1.0
"""What the logarithm of a hazard stays below."""
PIVOT: Final = 4.0
"""A drive of minus this is changed by no gain; about a cell's resting hazard."""
KNOTS: Final = (*range(1, 9), 10, 12, 14, 17, 20, 24, 30, 38, 48, 62, 82, 110, 145, SPAN - 1, SPAN)
"""Ages between which tables are straight."""

Ages = NDArray[np.uint8]
"""Sub-steps since each of a cell's last spikes: (..., cell, remembered), 1 to `SPAN`, the youngest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Spiking:
    """The weights of a student that draws its own spikes; matrices stand right of products."""

    entry: F32
    """(channel, hidden): the stimulus, in its own unit, on its way into the recurrent network."""
    entry_bias: F32
    """(hidden,)."""
    recurrent: GruWeights
    inner: F32
    """(hidden, inner): the read-out's layer."""
    inner_bias: F32
    """(inner,)."""
    outer: F32
    """(hidden + inner, sub-steps x cells): to the drive of all sub-steps of a bin."""
    outer_bias: F32
    """(sub-steps x cells,)."""
    tables: F32
    """(cell, remembered, knot)."""
    gain: F32
    """(cell, knot), of the age of the last spike."""
    loadings: F32
    """(latent, cell): how much each cell hears of each latent."""
    kept: float
    """The share of a latent that is kept from one sub-step to the next."""
    sub_steps: int

    @property
    def channels(self) -> int:
        """How many values one bin of the stimulus has."""
        return int(self.entry.shape[0])

    @property
    def cells(self) -> int:
        """How many cells answer."""
        return int(self.gain.shape[0])

    @property
    def latents(self) -> int:
        """How many latents there are."""
        return int(self.loadings.shape[0])

    @property
    def noise(self) -> int:
        """How many uniform numbers a bin needs: in each sub-step one a cell, then one a latent."""
        return self.sub_steps * (self.cells + self.latents)

    @property
    def innovation(self) -> float:
        """The weight of a uniform number, less one half, in a latent, which has then the variance 1."""
        return float(np.sqrt(12 * (1 - self.kept**2)))

    @property
    def latent_offset(self) -> F32:
        """What is added to a log hazard so that latents leave its mean as it is: (cell,)."""
        return np.asarray(-(self.loadings**2).sum(axis=0) / 2, np.float32)

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        gru = self.recurrent
        arrays = (
            *(self.entry, self.entry_bias, gru.input, gru.recurrent, gru.bias, self.inner, self.inner_bias),
            *(self.outer, self.outer_bias, self.tables, self.gain, self.loadings),
        )
        return sum(array.size for array in arrays)


def hats(ages: NDArray[np.generic]) -> F32:
    """Return the share of each knot at each age: (..., knot); a table at an age is the sum of its knots by these shares."""
    at = ages.astype(np.float64)[..., np.newaxis]
    knots = np.array(KNOTS, np.float64)
    before, behind = np.append(0.0, knots[:-1]), np.append(knots[1:], SPAN + 1.0)
    rising, falling = (at - before) / (knots - before), (behind - at) / (behind - knots)
    return np.asarray(np.maximum(np.minimum(rising, falling), 0), np.float32)


def ages_of(fired: NDArray[np.generic]) -> Ages:
    """Return how old the last spikes are in each sub-step, its own not among them: (time, cell) to (time, cell, remembered)."""
    time, cells = fired.shape
    ages = np.empty((time, cells, REMEMBERED), np.uint8)
    steps = np.arange(time)
    for cell in range(cells):
        spikes = np.nonzero(fired[:, cell])[0]
        before = np.searchsorted(spikes, steps, "left")
        for back in range(REMEMBERED):
            which = before - 1 - back
            age = np.full(time, SPAN)
            there = which >= 0
            age[there] = np.minimum(steps[there] - spikes[which[there]], SPAN)
            ages[:, cell, back] = age
    return ages


def drive_of(weights: Spiking, stimulus: F32) -> F32:
    """Return the drive (time, sub-step, cell) of a stimulus (time, channel), from the state of rest."""
    taken = _silu(stimulus @ weights.entry + weights.entry_bias)
    input_, recurrent, input_bias, recurrent_bias = weights.recurrent.to_torch()
    of_input = taken @ input_.T + input_bias
    hidden = np.zeros(weights.recurrent.hidden, np.float32)
    every = np.empty((len(stimulus), len(hidden)), np.float32)
    turned = np.ascontiguousarray(recurrent.T)
    for step, given in enumerate(of_input):
        reset, update, new = np.split(given, 3)
        reset_by, update_by, new_by = np.split(hidden @ turned + recurrent_bias, 3)
        update = _sigmoid(update + update_by)
        candidate = np.tanh(new + _sigmoid(reset + reset_by) * new_by)
        hidden = (np.float32(1) - update) * candidate + update * hidden
        every[step] = hidden
    inner = _silu(every @ weights.inner + weights.inner_bias)
    drive = np.concatenate([every, inner], axis=1) @ weights.outer + weights.outer_bias
    return np.asarray(drive, np.float32).reshape(len(stimulus), weights.sub_steps, weights.cells)


def free_run(weights: Spiking, drive: F32, noise: F32) -> tuple[F32, NDArray[np.uint8]]:
    """Let minds run freely: drive (mind, time, sub-step, cell) or without minds, noise (time, mind, `weights.noise`) in [0, 1).

    Returns the sum of each bin's probabilities of firing, given what was drawn before, and the counts: (mind, time, cell) each.
    """
    time, minds, _ = noise.shape
    cells = weights.cells
    drawn = noise.reshape(time, minds, weights.sub_steps, cells + weights.latents)
    drive = np.broadcast_to(drive, (minds, time, weights.sub_steps, cells))
    by_age = hats(np.arange(SPAN + 1))
    tables = (weights.tables @ by_age.T).transpose(1, 0, 2)  # (remembered, cell, age)
    gain = weights.gain @ by_age.T
    offset, kept, innovation = weights.latent_offset, np.float32(weights.kept), np.float32(weights.innovation)
    ages = np.full((REMEMBERED, minds, cells), SPAN)
    latent = np.zeros((minds, weights.latents), np.float32)
    cell = np.arange(cells)
    rate = np.zeros((minds, time, cells), np.float32)
    counts = np.zeros((minds, time, cells), np.uint8)
    for step in range(time):
        for part in range(weights.sub_steps):
            uniform = drawn[step, :, part]
            latent = kept * latent + innovation * (uniform[:, cells:] - np.float32(0.5))
            log_hazard = _combined(drive[:, step, part], gain[cell, ages[0]]) + latent @ weights.loadings + offset
            for back in range(REMEMBERED):
                log_hazard = log_hazard + tables[back][cell, ages[back]]
            likely = firing(log_hazard)
            fired = uniform[:, :cells] < likely
            rate[:, step] += likely
            counts[:, step] += fired
            ages[1:] = np.where(fired, ages[:-1], ages[1:])
            ages[0][fired] = 0
            ages = np.minimum(ages + 1, SPAN)
    return rate, counts


def firing(log_hazard: F32) -> F32:
    """Return the probability of a spike in a sub-step, the hazard bent below its ceiling."""
    under = np.float32(CEILING) - np.logaddexp(np.float32(0), np.float32(CEILING) - log_hazard)
    return np.asarray(np.float32(1) - np.exp(-np.exp(under)), np.float32)


def _combined(drive: F32, gain: F32) -> F32:
    pivot = np.float32(PIVOT)
    return (drive + pivot) * (np.float32(1) + gain) - pivot


def _sigmoid(x: F32) -> F32:
    return np.reciprocal(np.float32(1) + np.exp(-np.clip(x, -80, 80)))


def _silu(x: F32) -> F32:
    return x * _sigmoid(x)
