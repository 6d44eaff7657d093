"""Measures of what a student expects, held against repeats; and the ceilings that the repeats themselves set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.moments import drawings, fit_of
from engram_fidelity.certificate.value import Estimate, Measure
from engram_fidelity.metrics.correlation import oracle, rebin, split_half
from engram_fidelity.metrics.likelihood import mean_count, oracle_bits_by_cell

F64 = NDArray[np.float64]

_SMOOTHING_S: Final = 0.01
"""Of the smoothed oracle: the standard deviation of a Gaussian."""
_SEVERAL: Final = 0.95
_MISSING: Final = {
    "cc_abs": "the cell or the student does not vary",
    "cc_norm": "the repeats agree on nothing, or the student does not vary",
    "cc_max": "the repeats agree on nothing",
    "feve": "the stimulus explains nothing of the variance",
    "bits_per_spike": "the cell did not fire",
    "deviance_explained": "the cell did not fire",
}
_NEED_REPEATS: Final = frozenset({"cc_norm", "cc_max", "feve"})
_WIDE_TOO: Final = frozenset({"cc_abs", "cc_norm", "cc_max"})
"""What is told in the wider bins too."""


def measure_of(name: str, bin_s: float, cells: list[F64], *, missing: str) -> Measure:
    """Summarise resamples (resample,) of each cell, the first being the value: 95 % intervals, mean, 10th percentile.

    The mean and the percentile are resampled with all cells from the same repeats; cells without a value are left out.
    """
    known = [one for one in cells if np.isfinite(one[0])]
    told = tuple(estimate_of(one, missing=missing) for one in cells)
    if not known:
        return Measure(name, bin_s, told, Estimate(None, missing=missing), Estimate(None, missing=missing))
    together = np.stack(known)
    return Measure(
        name,
        bin_s,
        told,
        estimate_of(_over_cells(together, np.mean), missing=missing),
        estimate_of(_over_cells(together, lambda values: np.percentile(values, 10)), missing=missing),
    )


def _over_cells(together: F64, summary: Callable[[F64], object]) -> F64:
    """Summarise over cells in each resample; a resample in which a cell has no value is NaN."""
    return np.array([summary(column) if np.isfinite(column).all() else np.nan for column in together.T], np.float64)


def estimate_of(resamples: F64, *, missing: str) -> Estimate:
    """Return the first of the resamples with the interval that holds 95 % of the others, none where too few have a value."""
    value, others = float(resamples[0]), resamples[1:]
    known = others[np.isfinite(others)]
    if len(known) < max(20, _SEVERAL * len(others)):
        return Estimate.of(value, missing=missing)
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate.of(value, float(low), float(high), missing=missing)


def mean_measures(
    counts: F64, expected: F64, *, bin_s: float, together: int, resamples: int, seed: int
) -> tuple[Measure, ...]:
    """Measure what is expected (time, cell) against counts (repeat, time, cell), in bins and in `together` bins at once."""
    drawn = drawings(len(counts), resamples if len(counts) > 1 else 0, seed=seed)
    found = [_measures(counts, expected, drawn, bin_s=bin_s, wide=False)]
    if together > 1:
        wide = (rebin(counts, together, 1), rebin(expected, together, 0))
        found.append(_measures(*wide, drawn, bin_s=round(bin_s * together, 9), wide=True))
    return tuple(measure for measures in found for measure in measures)


def _measures(counts: F64, expected: F64, drawn: F64, *, bin_s: float, wide: bool) -> list[Measure]:
    fits: list[Mapping[str, F64]] = [
        fit_of(counts[:, :, cell], expected[:, cell], drawn).by_name() for cell in range(counts.shape[2])
    ]
    names = [name for name in fits[0] if not wide or name in _WIDE_TOO]
    return [
        measure_of(name, bin_s, [fit[name] for fit in fits], missing=_MISSING[name])
        for name in names
        if len(counts) > 1 or name not in _NEED_REPEATS
    ]


def ceilings(counts: F64, *, bin_s: float, together: int, seed: int) -> tuple[Measure, ...]:
    """Return what the repeats (repeat, time, cell) themselves reach; nothing for one repeat.

    Correlations in `together` bins at once, bits per spike in single bins.
    """
    if len(counts) < 2:
        return ()
    wide = rebin(counts, together, 1)
    cells = range(counts.shape[2])
    null = mean_count(counts)
    silent = "the cell did not fire"
    wide_s = round(bin_s * together, 9)

    def told(name: str, width: float, values: list[float]) -> Measure:
        return measure_of(name, width, [np.array([value]) for value in values], missing=silent)

    # The oracles take the null as a floor of what they expect, so that a silent cell has none.
    known = np.maximum(null, 1e-12)
    plain, smooth = (
        oracle_bits_by_cell(counts, known, smoothing_bins=bins).values.tolist() for bins in (0.0, _SMOOTHING_S / bin_s)
    )
    return (
        told("split_half", wide_s, [split_half(wide[:, :, cell], seed=seed).whole for cell in cells]),
        told("oracle", wide_s, [oracle(wide[:, :, cell]) for cell in cells]),
        told("oracle_bits_per_spike", bin_s, plain),
        told("smoothed_oracle_bits_per_spike", bin_s, smooth),
    )
