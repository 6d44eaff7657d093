"""Evidence from ranks: where the network's one answer stands among the student's several answers to the same presentation.

If the student is as the network is, the network's answer is one more of the same kind, and each place among them is as likely
as any other. Whoever bets on the upper places wins nothing on average. A presentation is the unit: a network's excitability
wanders from one to the next, so that windows of one presentation rise and fall together, and would be counted as evidence
many times over (on the retina recording, real was flagged against real in 17 % of runs that way).

For a place r of 0 to K among K draws the wealth is multiplied by exp(t r / K), divided by its mean over all places; by at most
K + 1. Several t are bet on at once. Ties share their places' stakes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_TILTS: Final = np.array([1.0, 3.0, 12.0])


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Bets that each of several numbers stands high among the student's; a value: `after` returns the next."""

    logs: Float
    """Wealth of each number and tilt, natural logarithm: (number, tilt)."""
    presentations: int = 0

    @classmethod
    def start(cls, numbers: int) -> Self:
        """Begin without evidence about so many numbers."""
        return cls(np.zeros((numbers, len(_TILTS))))

    def after(self, real: Float, drawn: Float) -> Self:
        """Return the evidence after one more presentation, of numbers (number,) and (number, draw)."""
        stakes = _stakes(drawn.shape[1])
        below, upto = (drawn < real[:, None]).sum(axis=1), (drawn <= real[:, None]).sum(axis=1)
        won = np.array([stakes[:, low : high + 1].mean(axis=1) for low, high in zip(below, upto, strict=True)])
        return replace(self, logs=self.logs + np.log(won), presentations=self.presentations + 1)

    @property
    def log_each(self) -> Float:
        """The e-value of each number, natural logarithm: (number,)."""
        return np.asarray(np.logaddexp.reduce(self.logs, axis=1) - np.log(self.logs.shape[1]), np.float64)

    @property
    def log_any(self) -> float:
        """Evidence that some number stands high more often than chance lets it: the mean e-value."""
        return float(np.logaddexp.reduce(self.log_each) - np.log(len(self.logs)))


def _stakes(draws: int) -> Float:
    """Return what each place pays for each tilt, 1 on average: (tilt, place)."""
    pays = np.exp(_TILTS[:, None] * (np.arange(draws + 1) / draws - 1))
    return np.asarray(pays / pays.mean(axis=1, keepdims=True), np.float64)
