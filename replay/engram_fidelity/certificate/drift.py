"""Whether the donor changed while it was recorded: its first repeats against its last (sentinels).

Stimulation itself changes tissue; a student of a donor that drifts is a student of several.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.betting import bet
from engram_fidelity.certificate.means import measure_of
from engram_fidelity.certificate.value import Drift, Estimate, Settings
from engram_fidelity.twosample import Windows, c2st

F64 = NDArray[np.float64]

_LEAST: Final = 8


def drift_of(counts: F64, windows: Windows, settings: Settings) -> Drift | None:
    """Tell whether the first half of the repeats (repeat, time, cell), in the order of recording, is like the second.

    `None` for fewer than eight repeats.
    """
    if len(counts) < _LEAST:
        return None
    half = len(counts) // 2
    early, late = counts[:half], counts[-half:]
    found = c2st(early, late, bin_s=settings.bin_s, windows=windows, seed=settings.seed)
    # What the stimulus makes one expect is what both halves say of it together.
    bets = bet(early, late, counts.mean(axis=0), windows, seed=settings.seed)
    summary = None if bets is None else bets.summary(bets.trace(settings), settings)
    return Drift(
        auc=Estimate.of(found.auc, *found.interval, missing="nothing could be told apart"),
        log10_e=None if summary is None else summary.guard_log10_e,
        flagged=summary is not None and not summary.quiet,
        rate_trend=measure_of(
            "rate_trend",
            settings.window_s,
            _trends(counts, settings.resamples, settings.seed),
            missing="the cell did not fire",
        ),
    )


def _trends(counts: F64, resamples: int, seed: int) -> list[F64]:
    """Return for each cell the fitted change of its rate from first to last repeat over its mean, resampling repeats."""
    rates = counts.mean(axis=1)
    places = np.linspace(-0.5, 0.5, len(rates))
    chosen = np.random.default_rng(seed).integers(len(rates), size=(resamples, len(rates)))
    chosen = np.concatenate([np.arange(len(rates))[None], chosen])
    x = places[chosen] - places[chosen].mean(axis=1, keepdims=True)
    spread = np.maximum((x**2).sum(axis=1), 1e-12)
    found = []
    for rate in rates.T:
        y = rate[chosen]
        mean = y.mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.where(mean > 0, (x * y).sum(axis=1) / spread / np.where(mean > 0, mean, np.nan), np.nan))
    return found
