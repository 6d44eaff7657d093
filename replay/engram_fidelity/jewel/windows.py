"""What a discriminator sees: windows of counts of the real network and of the student at the same stimulus, as features.

Features describe a window given what was expected there, so that a discriminator judges the answer and not the stimulus. The
expectation is the student's, is the same for both windows of a pair, and is known before the network has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import InvalidInput

Float = NDArray[np.float64]
Features = Callable[["Float", "Float"], "Float"]
"""Of windows (..., bin, cell) and their expected counts, which broadcast against them: (..., feature)."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Windows of one presentation, in the order of time."""

    real: Float
    """(window, bin, cell)"""
    student: Float
    """Several draws of the student at the same stimulus: (window, draw, bin, cell)."""
    expected: Float
    """(window, bin, cell)"""

    def __len__(self) -> int:
        """How many pairs there are: one for each window."""
        return len(self.real)

    @property
    def totals(self) -> tuple[Float, Float]:
        """The spikes of each cell in the whole presentation: (cell,) and (draw, cell)."""
        return self.real.sum(axis=(0, 1)), self.student.sum(axis=(0, 2))


def cut(
    real: NDArray[np.generic], student: NDArray[np.generic], expected: NDArray[np.generic], *, bins: int, skip: int
) -> Pairs:
    """Cut counts (time, cell), (draw, time, cell) and (time, cell) into windows of `bins`, leaving out the first `skip` bins.

    Bins that fill no window are dropped. Raises `InvalidInput` where not even one window is left.
    """
    count = (len(real) - skip) // bins
    if count < 1:
        raise InvalidInput(
            f"a presentation of {len(real)} bins holds no window of {bins} after the first {skip}: "
            "show longer stimuli, or score from earlier on"
        )
    part = slice(skip, skip + count * bins)
    cells = real.shape[1]
    drawn = student[:, part].reshape(len(student), count, bins, cells).swapaxes(0, 1)
    return Pairs(
        real[part].reshape(count, bins, cells).astype(np.float64),
        drawn.astype(np.float64),
        expected[part].reshape(count, bins, cells).astype(np.float64),
    )


def count_features(windows: Float, expected: Float) -> Float:
    """How much: each cell's count, less what was expected and in fifths of the window, and how sure that expectation was."""
    counts, wanted = windows.sum(axis=-2), expected.sum(axis=-2)
    fifths = _fifths(windows) - _fifths(expected)
    surprise = (counts - wanted) / np.sqrt(wanted + 0.25)
    wide = np.broadcast_to(wanted, counts.shape)
    return np.concatenate([counts, surprise, fifths, np.sqrt(wide), surprise**2], axis=-1)


def timing_features(windows: Float, expected: Float) -> Float:
    """How: spikes that follow each other after one bin and after two, bins with several, cells that fire together."""
    counts, wanted = windows.sum(axis=-2), expected.sum(axis=-2)
    following = [
        (windows[..., lag:, :] * windows[..., :-lag, :]).sum(axis=-2) for lag in (1, 2) if windows.shape[-2] > lag
    ]
    several = (windows > 1).sum(axis=-2)
    population = windows.sum(axis=-1)
    together = ((population**2).sum(axis=-1) - (windows**2).sum(axis=(-2, -1)))[..., None]
    wide = np.broadcast_to(wanted, counts.shape)
    total, least = counts.sum(axis=-1, keepdims=True), wide.sum(axis=-1, keepdims=True)
    return np.concatenate([counts - wide, wide, *following, several, together, total - least, least], axis=-1)


def _fifths(windows: Float) -> Float:
    """Count in at most five parts of a window: (..., part times cell)."""
    parts = np.array_split(np.arange(windows.shape[-2]), min(5, windows.shape[-2]))
    sums = np.stack([windows[..., part, :].sum(axis=-2) for part in parts], axis=-2)
    return sums.reshape(*sums.shape[:-2], -1)
