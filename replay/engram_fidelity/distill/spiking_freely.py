"""What a student that runs freely needs besides likelihood: noise that cells share, and rates that are right.

Both are found on training trials, which are shown once. There, what is left of the spikes after their probabilities, residuals,
is partly noise of the network and partly stimulus that the student did not understand. Noise of a retina is shared over a few
milliseconds; misunderstanding lasts as long as the stimulus does. So what residuals of two cells share at short lags, less what
they share at longer ones, is taken for noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.distill.renewal import PIVOT, REMEMBERED, SPAN, Spiking, drive_of, firing, free_run, hats
from engram_fidelity.distill.spiking_material import Material
from engram_fidelity.graph import F32

F64 = NDArray[np.float64]

_NEAR_S: Final = 0.007
_FAR_S: Final = (0.017, 0.026)
"""Lags at which residuals are compared: what is shared at short lags only is noise, else it is stimulus not understood."""
_LATENTS: Final = 2
_LATENT_S: Final = 1 / 150
_LATENT_SHARE: Final = 0.6
"""The part of what is shared at short lags that becomes noise; the rest is stimulus not understood that changes fast."""
_CALIBRATIONS: Final = 4
_BINS: Final = 120_000
"""Bins of training trials that are looked at, about."""
_ROW: Final = 2400
"""The longest free run of calibration, in bins."""
_ROUNDS_OF_FACTORS: Final = 300
_EASED: Final = 0.8
"""The part of a rate's error that one round of calibration takes away."""


def with_latents(weights: Spiking, material: Material, trials: Sequence[int], *, sub_step_s: float) -> Spiking:
    """Return the student with noise that its cells share, found in the residuals of some trials."""
    if weights.cells < 2:
        return weights
    near = max(1, math.floor(_NEAR_S / sub_step_s + 1e-6))
    far = range(math.ceil(_FAR_S[0] / sub_step_s - 1e-6), math.floor(_FAR_S[1] / sub_step_s + 1e-6) + 1)
    shared = np.zeros((2, weights.cells, weights.cells))
    expected = np.zeros_like(shared)
    for residuals, likely in _residuals(weights, material, _some(material, trials)):
        for kind, lags in enumerate((range(near + 1), far)):
            for lag in lags:
                until = len(likely) - lag
                if until > 0:
                    shared[kind] += residuals[:until].T @ residuals[lag:]
                    expected[kind] += likely[:until].T @ likely[lag:]
    covariance = (shared[0] + shared[0].T) / (expected[0] + expected[0].T) - (shared[1] + shared[1].T) / (
        expected[1] + expected[1].T
    )
    loadings = factors(covariance * _LATENT_SHARE, min(_LATENTS, weights.cells - 1))
    return replace(weights, loadings=loadings, kept=math.exp(-sub_step_s / _LATENT_S))


def factors(covariance: F64, count: int) -> F32:
    """Return loadings (factor, cell) whose products come close to the off-diagonal of a covariance, signs by the first cell."""
    filled = covariance.copy()
    diagonal = np.full(len(filled), np.abs(filled[~np.eye(len(filled), dtype=bool)]).mean())
    for _ in range(_ROUNDS_OF_FACTORS):
        np.fill_diagonal(filled, diagonal)
        values, vectors = np.linalg.eigh(filled)
        loadings = vectors[:, -count:] * np.sqrt(np.maximum(values[-count:], 0))
        diagonal = (loadings**2).sum(axis=1)
    signs = np.where(loadings[np.abs(loadings).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)
    return np.ascontiguousarray((loadings * signs).T, np.float32)


def calibrated(weights: Spiking, material: Material, trials: Sequence[int], *, seed: int) -> Spiking:
    """Return the student with each cell's drive moved so that free runs fire as often as the cells did in the same trials."""
    chosen = _some(material, trials)
    row = min(_ROW, *(material.lengths[trial] for trial in chosen))
    drives, fired = [], np.zeros(weights.cells)
    for trial in chosen:
        start, rows = material.starts[trial], material.lengths[trial] // row
        drive = drive_of(weights, material.stimulus[start : start + rows * row])
        drives.append(drive.reshape(rows, row, weights.sub_steps, weights.cells))
        fired += material.fired[start : start + rows * row].sum(axis=(0, 1))
    every = np.concatenate(drives)
    moved = np.zeros(weights.cells, np.float32)
    random = np.random.default_rng([seed, 0xCA11])
    for _ in range(_CALIBRATIONS):
        noise = random.random((row, len(every), weights.noise), np.float32)
        _, counts = free_run(weights, every + moved, noise)
        free = counts.sum(axis=(0, 1), dtype=np.float64)
        moved += (_EASED * np.log((fired + 1) / (free + 1))).astype(np.float32)
    return replace(weights, outer_bias=weights.outer_bias + np.tile(moved, weights.sub_steps))


def _some(material: Material, trials: Sequence[int]) -> list[int]:
    """Return trials, evenly among those given, that have about `_BINS` bins together."""
    bins = sum(material.lengths[trial] for trial in trials)
    return list(trials[:: max(1, round(bins / _BINS))])


def _residuals(weights: Spiking, material: Material, trials: Sequence[int]) -> Iterator[tuple[F64, F64]]:
    """Yield of each trial what is left of its spikes and how likely they were, given the past: (sub-step, cell) each."""
    by_age = hats(np.arange(SPAN + 1))
    tables, gain = weights.tables @ by_age.T, weights.gain @ by_age.T
    cell = np.arange(weights.cells)
    for trial in trials:
        whole = slice(material.starts[trial], material.starts[trial] + material.lengths[trial])
        ages = material.ages[whole]
        log_hazard = (drive_of(weights, material.stimulus[whole]) + PIVOT) * (1 + gain[cell, ages[..., 0]]) - PIVOT
        for back in range(REMEMBERED):
            log_hazard = log_hazard + tables[:, back][cell, ages[..., back]]
        likely = (
            firing(np.asarray(log_hazard, np.float32)).astype(np.float64)
            * material.there[whole][:, np.newaxis, np.newaxis]
        )
        yield (material.fired[whole] - likely).reshape(-1, weights.cells), likely.reshape(-1, weights.cells)
