"""Does the student fire as much as the network? Judged on whole presentations, for the eye for windows is too weak for that.

A student whose every rate is 5 % too high is told from the network in a window of 100 ms with a probability of 0.52 to 0.58,
which may be within an epsilon of 0.05: discriminators of windows would let it pass, and rightly by their measure. The spikes of
a whole presentation add up, and their number betrays it.

Two uses. The *guard* bets that the network's number stands above or below the student's. The *likeness* bets against the
claims "the student fires at least 1 + delta times as much" and "at most 1 - delta times as much", and must win both before a
switch: of a student that is off by delta, this is so with a probability of at most alpha, however long the run (Ville). For
that the network's number, times 1 + delta, is placed among the student's: under the claim it stands no higher than by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.jewel.ranks import Ranks
from engram_fidelity.jewel.windows import Pairs

Float = NDArray[np.float64]

_PRIOR: Final = 4
"""What the scatter within presentations weighs against that between them, in presentations."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The evidence about rates so far; a value: `after` returns the next."""

    margin: float
    """delta: the share by which the student's rate may be off."""
    bounds: Ranks
    """Against: at least 1 + delta times as much; and at most 1 - delta times."""
    whole: Ranks
    """Against: as many spikes of all cells together; up and down."""
    cells: Ranks
    """Against: as many of each cell; up and down."""

    @classmethod
    def start(cls, margin: float, *, cells: int) -> Self:
        """Begin without evidence."""
        return cls(margin, Ranks.start(2), Ranks.start(2), Ranks.start(2 * cells))

    def after(self, pairs: Pairs, *, margin: float) -> Self:
        """Return the evidence after one more presentation, for which bets are made with at least `margin`, known before it.

        What is claimed in the end is the largest margin of all: who is off by that is off by each.
        """
        margin = max(margin, self.margin)
        by_cell, drawn = pairs.totals
        total, draws = by_cell.sum(keepdims=True), drawn.sum(axis=1, keepdims=True).T
        return type(self)(
            margin,
            self.bounds.after(_signed(total * (1 + margin), total * (1 - margin)), _signed(draws, draws)),
            self.whole.after(_signed(total, total), _signed(draws, draws)),
            self.cells.after(_signed(by_cell, by_cell), _signed(drawn.T, drawn.T)),
        )

    @property
    def log_guard(self) -> float:
        """Evidence that rates differ: the mean of two e-values, one of all cells together, one of each alone."""
        return float(np.logaddexp(self.whole.log_any, self.cells.log_any)) - math.log(2)

    @property
    def log_likeness(self) -> float:
        """Evidence that they differ by less than the margin, both ways."""
        return float(self.bounds.log_each.min())


def spread(past: list[Pairs]) -> float:
    """Estimate how much the network's number of spikes scatters between presentations, as a share of it.

    What the student drew for the same stimulus is taken out. Few presentations say little of their own scatter, so it is drawn
    towards what the scatter of windows would give if they were independent; 0 for a silent network.
    """
    totals = np.array([[pairs.totals[0].sum(), pairs.totals[1].sum(axis=1).mean()] for pairs in past])
    if not (totals > 0).all():
        return 0.0
    windows = [pairs.real.sum(axis=(1, 2)) - pairs.student.sum(axis=(2, 3)).mean(axis=1) for pairs in past]
    within = float(np.mean([len(part) * part.var() for part in windows])) / float(totals[:, 0].mean()) ** 2
    between = float((totals[:, 0] / totals[:, 1]).var(ddof=1)) if len(past) > 1 else within
    return math.sqrt((_PRIOR * within + (len(past) - 1) * between) / (_PRIOR + len(past) - 1))


def _signed(first: Float, second: Float) -> Float:
    """Stack what is to stand high and what is to stand low, the latter with its sign turned."""
    return np.concatenate([first, -second])
