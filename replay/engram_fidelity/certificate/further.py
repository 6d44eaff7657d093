"""Measures of single cells that need more than moments: calibration, distances of spike trains, rescaled intervals."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.means import measure_of
from engram_fidelity.certificate.moments import drawings
from engram_fidelity.certificate.value import Estimate, Measure, Settings
from engram_fidelity.metrics.calibration import calibration_table
from engram_fidelity.metrics.distance import relative_distance
from engram_fidelity.metrics.rescaling import ks

F64 = NDArray[np.float64]

_TRAINS: Final = 20
"""Repeats between which spike trains are compared: each pair costs the product of their spikes."""
_RESAMPLES: Final = 200
_UNKNOWN: Final = "the hazard of a student that hears its own spikes is not told by its expected counts"


def calibration_error(real: F64, expected: F64, settings: Settings) -> Measure:
    """Return of each cell by how much what came differs from what was expected, over deciles, as a share of the mean."""
    drawn = drawings(len(real), min(settings.resamples, _RESAMPLES) if len(real) > 1 else 0, seed=settings.seed + 7)
    cells = []
    for cell in range(real.shape[2]):
        means = drawn @ real[:, :, cell] / len(real)
        cells.append(np.array([calibration_table(mean, expected[:, cell]).ece for mean in means]))
    return measure_of("calibration_error", settings.bin_s, cells, missing="the student expects no spike")


def spike_distance(real: F64, drawn: F64, settings: Settings) -> Measure:
    """Return of each cell the distance of Victor and Purpura from the student's trains over that between repeats."""
    some = np.unique(np.linspace(0, len(real) - 1, min(_TRAINS, len(real))).astype(np.int64))
    found = relative_distance(real[some], drawn[some], bin_s=settings.bin_s, tau_s=settings.coarse_s)
    return _alone("victor_purpura", settings.coarse_s, found.values, "too few repeats, or the cell did not fire")


def rescaled_intervals(
    real: F64, expected: F64, settings: Settings, *, rate_is_hazard: bool
) -> tuple[Measure, Measure]:
    """Return of each cell the KS distance of rescaled intervals, and the band that 95 of 100 right students stay in.

    Known only where the expected count is the hazard: of a student that does not hear its own spikes.
    """
    names = ("rescaling_ks", "rescaling_band")
    if not rate_is_hazard:
        missing = Estimate(None, missing=_UNKNOWN)
        cells = tuple(missing for _ in range(real.shape[2]))
        return (
            Measure(names[0], settings.bin_s, cells, missing, missing),
            Measure(names[1], settings.bin_s, cells, missing, missing),
        )
    found = [
        ks(real[:, :, cell], expected[:, cell], model="poisson", seed=settings.seed) for cell in range(real.shape[2])
    ]
    silent = "the cell did not fire"
    return (
        _alone(names[0], settings.bin_s, np.array([one.distance for one in found]), silent),
        _alone(names[1], settings.bin_s, np.array([one.band for one in found]), silent),
    )


def _alone(name: str, bin_s: float, values: F64, missing: str) -> Measure:
    """Return a measure without intervals."""
    return measure_of(name, bin_s, [np.array([value]) for value in values], missing=missing)
