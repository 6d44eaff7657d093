"""Simulated donors and teachers whose truth is known: what a test of likeness, a query policy or a controller is tried on first.

Two kinds. `PatternTeacher` has no memory: electrodes with amplitudes in, Poisson counts out, as a patch of tissue that is
stimulated in single pulses. `RenewalDonor` answers a continuous stimulus with counts that scatter less than Poisson's, as
real cells do; it can be made a little different by a known amount, and it can drift from a known time on. Both fulfil
`RateResponder`, and all that they draw follows from seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts, Stimulus
from engram_format.errors import InvalidInput

Float = NDArray[np.float64]

_MOST = 255
"""What a count in uint8 can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class PatternTeacher:
    """Units with thresholds in the fields of stimulation electrodes, heard by recording electrodes.

    A bin of the stimulus is one pattern: an amplitude from 0 to 1 for each stimulation electrode. A unit sums the fields at
    its place, which fall off with distance, and fires above its threshold; a recording electrode hears the units near it.
    Counts are Poisson's. No bin depends on another.
    """

    fields: Float
    """What each electrode does at each unit: (channel, unit)."""
    thresholds: Float
    """(unit,)"""
    steepness: float
    heard: Float
    """Expected count that each unit at its strongest adds to each recording electrode: (unit, cell)."""
    silence: float
    """Expected count without any stimulus."""

    @classmethod
    def make(cls, seed: int, *, electrodes: int = 16, units: int = 40, recording: int = 12) -> Self:
        """Lay out electrodes on a grid and units and recording electrodes at random in a unit square."""
        rng = np.random.default_rng([seed, 0x7EAC])
        side = int(np.ceil(np.sqrt(electrodes)))
        grid = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:electrodes] + 0.5) / side
        bodies, ears = rng.random((units, 2)), rng.random((recording, 2))
        fields = 1 / (1 + (_distances(grid, bodies) / 0.15) ** 2)
        heard = np.exp(-((_distances(bodies, ears) / 0.18) ** 2)) * rng.uniform(0.5, 3.0, (units, 1))
        return cls(fields, rng.uniform(0.5, 1.3, units), 10.0, heard, 0.05)

    @property
    def channels(self) -> int:
        """Stimulation electrodes."""
        return int(self.fields.shape[0])

    @property
    def cells(self) -> int:
        """Recording electrodes."""
        return int(self.heard.shape[1])

    def expected(self, stimulus: Stimulus, *, seed: int = 0) -> Stimulus:
        """Return the true expected counts (time, cell), which no seed changes."""
        field = _checked(stimulus, self.channels).astype(np.float64) @ self.fields
        active = 1 / (1 + np.exp(-self.steepness * (field - self.thresholds)))
        return (self.silence + active @ self.heard).astype(np.float32)

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Draw Poisson counts (repeat, time, cell) around the expected ones."""
        rate = self.expected(stimulus)
        drawn = np.random.default_rng([seed, 0xD4A3]).poisson(rate, (repeats, *rate.shape))
        return np.minimum(drawn, _MOST).astype(np.uint8)


def deployed_patterns(count: int, *, channels: int = 16, seed: int) -> Stimulus:
    """Draw patterns as a laboratory would use them: one to six electrodes at once, each with an amplitude from 0.2 to 1.

    Returns (count, channels). This is what a student is asked after it was made, and what it is judged by.
    """
    rng = np.random.default_rng([seed, 0xDE91])
    order = rng.random((count, channels)).argsort(axis=1)
    on = order < rng.integers(1, min(7, channels + 1), (count, 1))
    return np.where(on, rng.uniform(0.2, 1.0, (count, channels)), 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Drift:
    """From `from_s` of the donor's life on, every rate is multiplied by `factor`."""

    from_s: float
    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class RenewalDonor:
    """Cells that fire as Erlang renewal processes in the time of their own rate, driven by a continuous stimulus.

    A cell's rate is a soft threshold of the stimulus, filtered over channels and the past. Of a Poisson process with
    `regularity` times that rate every `regularity`-th event is a spike, the first after a random phase. The expected count of
    a bin is then exactly the rate, and the variance of long counts 1 / `regularity` of Poisson's. Each trial begins at rest.
    """

    filters: Float
    """(lag, channel, cell); lag 0 is the bin itself."""
    drive: Float
    """Where each cell's threshold lies: (cell,)."""
    strongest: Float
    """Expected count for each unit of drive above the threshold: (cell,)."""
    regularity: int
    factor: float = 1.0
    """What every rate is multiplied with."""
    drift: Drift | None = None
    elapsed_s: float = 0.0
    """Time of the donor's life at which a trial begins; `at` sets it."""
    bin_s: float = 0.005

    @classmethod
    def make(
        cls,
        seed: int,
        *,
        channels: int = 4,
        cells: int = 12,
        rate_hz: float = 20.0,
        regularity: int = 3,
        bin_s: float = 0.005,
    ) -> Self:
        """Make a population whose cells fire at about `rate_hz` under `flicker` of the same number of channels."""
        rng = np.random.default_rng([seed, 0x4E6E])
        lags = np.arange(round(0.15 / bin_s)) * bin_s
        peak = rng.uniform(0.02, 0.06, cells)
        course = (lags[:, None] / peak) * np.exp(1 - lags[:, None] / peak) - 0.4 * (
            lags[:, None] / (2 * peak)
        ) * np.exp(1 - lags[:, None] / (2 * peak))
        filters = course[:, None, :] * rng.normal(size=(channels, cells))
        probe = flicker(4000, channels=channels, seed=seed)
        drive = _filtered(probe, filters)
        filters = filters / drive.std(axis=0)
        silent = cls(filters, -drive.mean(axis=0) / drive.std(axis=0), np.ones(cells), regularity, bin_s=bin_s)
        mean = silent.expected(probe).mean(axis=0)
        return replace(silent, strongest=rate_hz * bin_s / mean.astype(np.float64))

    @property
    def channels(self) -> int:
        """Stimulus channels."""
        return int(self.filters.shape[1])

    @property
    def cells(self) -> int:
        """Cells that answer."""
        return int(self.filters.shape[2])

    def perturbed(self, *, rate: float = 0.05) -> Self:
        """Return the same donor with every rate higher by the share `rate`, and nothing else changed."""
        return replace(self, factor=self.factor * (1 + rate))

    def drifting(self, drift: Drift) -> Self:
        """Return the same donor with a drift that begins at a time of its life."""
        return replace(self, drift=drift)

    def at(self, elapsed_s: float) -> Self:
        """Return the donor as it is at a time of its life; the next trial begins there."""
        return replace(self, elapsed_s=elapsed_s)

    def expected(self, stimulus: Stimulus, *, seed: int = 0) -> Stimulus:
        """Return the true expected counts (time, cell), which no seed changes."""
        above = _filtered(_checked(stimulus, self.channels), self.filters) + self.drive
        rate = self.factor * self.strongest * np.logaddexp(0, 2 * above - 1) / 2
        if self.drift is not None:
            late = self.elapsed_s + np.arange(len(stimulus)) * self.bin_s >= self.drift.from_s
            rate = rate * np.where(late, self.drift.factor, 1.0)[:, None]
        return rate.astype(np.float32)

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Draw counts (repeat, time, cell), each repeat from rest."""
        rng = np.random.default_rng([seed, 0x5A3B])
        rate = self.expected(stimulus)
        stages = np.cumsum(rng.poisson(self.regularity * rate, (repeats, *rate.shape)), axis=1)
        spikes = (stages + rng.integers(0, self.regularity, (repeats, 1, self.cells))) // self.regularity
        return np.minimum(np.diff(spikes, axis=1, prepend=0), _MOST).astype(np.uint8)


def flicker(bins: int, *, channels: int = 4, hold: int = 4, seed: int) -> Stimulus:
    """Draw white noise that holds each value for `hold` bins: (bins, channels), from 0 to 1."""
    rng = np.random.default_rng([seed, 0xF11C])
    return np.repeat(rng.random((-(-bins // hold), channels)), hold, axis=0)[:bins].astype(np.float32)


def _filtered(stimulus: Stimulus, filters: Float) -> Float:
    """Sum the stimulus over channels and past bins: (time, cell)."""
    padded = np.concatenate([np.full((len(filters) - 1, stimulus.shape[1]), 0.5), stimulus.astype(np.float64)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(filters), axis=0)[..., ::-1]
    return np.asarray(np.einsum("tcl,lcn->tn", windows, filters, optimize=True), np.float64)


def _distances(first: Float, second: Float) -> Float:
    return np.asarray(np.linalg.norm(first[:, None] - second[None], axis=-1), np.float64)


def _checked(stimulus: Stimulus, channels: int) -> Stimulus:
    if stimulus.ndim != 2 or stimulus.shape[1] != channels:
        raise InvalidInput(
            f"the stimulus is {stimulus.shape} where the donor takes (time, {channels}): bring its channels"
        )
    if not np.isfinite(stimulus).all():
        raise InvalidInput("the stimulus holds NaN or infinity: a donor is given finite values")
    return stimulus
