"""What a student does when it runs freely: how it fires, how cells go together, and whether it can be told from the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.betting import PANEL, Bets, bet
from engram_fidelity.certificate.means import estimate_of, measure_of
from engram_fidelity.certificate.moments import drawings
from engram_fidelity.certificate.value import Betting, Discriminator, Estimate, FreeRunning, Measure, Settings
from engram_fidelity.metrics.correlation import rebin
from engram_fidelity.report.evidence import BetTrace
from engram_fidelity.twosample import Windows, c2st

F64 = NDArray[np.float64]

_FIRED: Final = 0.5
"""Windows with a mean count above it have a Fano factor; in others nearly everything has one of 1."""
_FEW: Final = "too few repeats"
_LEAST_FOR_C2ST: Final = 4
_LEAST_FOR_CONTROL: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What is compared, in scored bins: answers (repeat, time, cell), and what the student expects (time, cell)."""

    real: F64
    drawn: F64
    expected: F64


def free_running(
    answers: Answers, windows: Windows, settings: Settings, further: tuple[Measure, ...] = ()
) -> tuple[FreeRunning, BetTrace | None, BetTrace | None]:
    """Measure free answers against the repeats, with a control of repeats against repeats; `further` measures go with them.

    Returns how the bets went beside it. The control takes every other repeat, so that a slow drift is in both halves.
    """
    real, drawn, expected = answers.real, answers.drawn, answers.expected
    bets = bet(real, drawn, expected, windows, seed=settings.seed)
    halves = (real[::2], real[1::2])
    control = bet(*halves, expected, windows, seed=settings.seed)
    traces = [None if one is None else one.trace(settings) for one in (bets, control)]
    told = FreeRunning(
        measures=(*_variation(answers, windows, settings), _rate_error(answers, settings), *further),
        noise_correlation=_noise_correlation(answers, windows, settings),
        discriminators=tuple(
            Discriminator(
                classifier=name,
                auc=_auc(name, real, drawn, expected, windows, settings, least=_LEAST_FOR_C2ST),
                control=_auc(name, *halves, expected, windows, settings, least=_LEAST_FOR_CONTROL // 2),
            )
            for name in PANEL
        ),
        betting=_summary(bets, traces[0], settings),
        control=_summary(control, traces[1], settings),
        epsilon_with_power=None if bets is None else bets.epsilon_with_power(settings.alpha),
    )
    return told, traces[0], traces[1]


def _summary(bets: Bets | None, trace: BetTrace | None, settings: Settings) -> Betting | None:
    return None if bets is None or trace is None else bets.summary(trace, settings)


def _auc(
    name: str, real: F64, other: F64, expected: F64, windows: Windows, settings: Settings, *, least: int
) -> Estimate:
    if min(len(real), len(other)) < least:
        return Estimate(None, missing=_FEW)
    found = c2st(
        real,
        other,
        bin_s=settings.bin_s,
        classifier="logistic" if name == "logistic" else "boosted",
        expected=expected,
        seed=settings.seed,
        windows=windows,
    )
    return Estimate.of(found.auc, *found.interval, missing="nothing could be told apart")


def _variation(answers: Answers, windows: Windows, settings: Settings) -> list[Measure]:
    """Return Fano factors of network and student; over windows in which that one fired."""
    found = []
    for name, counts, seed in (("fano.real", answers.real, 1), ("fano.student", answers.drawn, 2)):
        drawn = drawings(len(counts), settings.resamples, seed=settings.seed + seed)
        wide = rebin(counts, windows.length, 1)
        cells = [_fano(wide[:, :, cell], drawn) for cell in range(wide.shape[2])]
        missing = "no window has enough spikes" if len(counts) > 1 else _FEW
        found.append(measure_of(name, settings.window_s, cells, missing=missing))
    return found


def _fano(counts: F64, drawn: F64) -> F64:
    """Return variance over repeats by mean, averaged over windows, from counts (repeat, window), for each weighting.

    As `metrics.variability.fano`; in a resample the variance is that between different repeats.
    """
    counts = counts[:, counts.mean(axis=0) > _FIRED]
    if not counts.shape[1] or len(counts) < 2:
        return np.full(len(drawn), np.nan)
    total = drawn.sum(axis=1)
    same = drawn**2
    pairs = total**2 - same.sum(axis=1)
    sums, squares = drawn @ counts, counts**2
    between = (sums**2 - same @ squares) / np.where(pairs > 0, pairs, np.nan)[:, None]
    mean = sums / total[:, None]
    variance = drawn @ squares / total[:, None] - between
    with np.errstate(divide="ignore", invalid="ignore"):
        factors: F64 = np.where(mean > 0, variance / mean, np.nan).mean(axis=1)
    return factors


def _rate_error(answers: Answers, settings: Settings) -> Measure:
    """Return by how much the student fires more than the network, as a share of the network's rate."""
    rates = []
    for counts, seed in ((answers.real, 3), (answers.drawn, 4)):
        drawn = drawings(len(counts), settings.resamples, seed=settings.seed + seed)
        rates.append(drawn @ counts.mean(axis=1) / len(counts))
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = np.where(rates[0] > 0, rates[1] / np.where(rates[0] > 0, rates[0], np.nan) - 1, np.nan)
    return measure_of("rate_error", settings.bin_s, list(cells.T), missing="the cell did not fire")


def _noise_correlation(answers: Answers, windows: Windows, settings: Settings) -> Mapping[str, Estimate]:
    """Return how much cells vary together beyond their mean answers, and whether it is the same pairs in both."""
    pairs = {
        name: _pairs(rebin(counts, windows.length, 1), settings, seed)
        for name, counts, seed in (("real", answers.real, 5), ("student", answers.drawn, 6))
    }
    missing = "fewer than two cells vary from repeat to repeat"
    found = {}
    for name, told in pairs.items():
        known = told[:, np.isfinite(told[0])]
        mean = known.mean(axis=1) if known.shape[1] else np.full(len(told), np.nan)
        found[name] = estimate_of(mean, missing=missing)
    both = np.isfinite(pairs["real"][0]) & np.isfinite(pairs["student"][0])
    pattern = [_correlation(a[both], b[both]) for a, b in zip(pairs["real"], pairs["student"], strict=True)]
    found["pattern"] = estimate_of(np.array(pattern), missing="fewer than three pairs of cells vary")
    return found


def _pairs(counts: F64, settings: Settings, seed: int) -> F64:
    """Return the noise correlation of each pair of cells for each weighting, (resample, pair)."""
    cells = counts.shape[2]
    drawn = drawings(len(counts), settings.resamples, seed=settings.seed + seed)
    rest = counts - counts.mean(axis=0)
    products = np.einsum("rwi,rwj->rij", rest, rest, optimize=True)
    between = (drawn @ products.reshape(len(counts), -1)).reshape(-1, cells, cells)
    spread = np.sqrt(np.maximum(np.einsum("bii->bi", between), 0))
    first, second = np.triu_indices(cells, 1)
    scale = spread[:, first] * spread[:, second]
    least = 1e-9 * max(1.0, float(counts.max()))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: F64 = np.where(scale > least, between[:, first, second] / scale, np.nan)
    return found


def _correlation(first: F64, second: F64) -> float:
    if len(first) < 3 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    if np.ptp(first) <= 0 or np.ptp(second) <= 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
