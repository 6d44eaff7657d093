"""All evidence about one student: of the panel over windows and over presentations, and of rates.

The guard's unit is the presentation (`ranks`). The unit of a switch e-value is the window, as epsilon speaks of a choice between
two windows; of a network whose excitability wanders, windows of a presentation are not independent, and the e-value is then less
certain than it says. `design_effect` says by how much the wandering inflates the scatter; it stands in every log.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.jewel.panel import Scores
from engram_fidelity.jewel.ranks import Ranks
from engram_fidelity.jewel.rates import Rates
from engram_fidelity.jewel.windows import Pairs
from engram_fidelity.sequential import Panel, switch

Float = NDArray[np.float64]

_BETS: Final = (0.5, 1.0, 1.6)
"""Around the best bet."""
RATES: Final = "rates"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Guard and switch e-values of every judge; a value: what follows returns the next."""

    names: tuple[str, ...]
    guards: Ranks
    switches: Panel
    rates: Rates

    @classmethod
    def start(cls, names: tuple[str, ...], *, eps: float, margin: float, draws: int, cells: int) -> Self:
        """Begin without evidence. `draws` of the student make outcomes scatter less, and allow larger bets."""
        best = eps / (1 / 12 + 1 / (6 * draws))
        most = 0.95 / (0.5 - eps)
        bets = tuple(min(most, best * size) for size in _BETS)
        return cls(
            names=names,
            guards=Ranks.start(len(names)),
            switches=Panel.of(names, switch(eps, bets)),
            rates=Rates.start(margin, cells=cells),
        )

    def after_window(self, outcomes: tuple[float, ...]) -> Self:
        """Return the evidence after every discriminator has judged one more pair of windows."""
        return replace(self, switches=self.switches.update(dict(zip(self.names, outcomes, strict=True))))

    def after_presentation(self, pairs: Pairs, scores: tuple[Scores, ...], *, margin: float) -> Self:
        """Return the evidence after a whole presentation has been judged, with a margin of rates known before it."""
        real = np.array([score.real.mean() for score in scores])
        drawn = np.array([score.drawn.mean(axis=0) for score in scores])
        return replace(self, guards=self.guards.after(real, drawn), rates=self.rates.after(pairs, margin=margin))

    @property
    def guard(self) -> float:
        """Natural logarithm of the guard's e-value: the mean of the panel's and that of rates."""
        return float(np.logaddexp(self.guards.log_any, self.rates.log_guard)) - math.log(2)

    @property
    def switch(self) -> float:
        """Natural logarithm of the least switch e-value: every judge must be convinced."""
        return min(self.switches.log_e_all, self.rates.log_likeness)

    @property
    def weakest(self) -> str:
        """The judge with the least switch e-value."""
        return RATES if self.rates.log_likeness <= self.switches.log_e_all else self.switches.weakest

    def numbers(self) -> dict[str, float]:
        """Return every e-value by name, as natural logarithms."""
        found = {
            f"log_e.guard.{name}": float(log_e) for name, log_e in zip(self.names, self.guards.log_each, strict=True)
        }
        found |= {f"log_e.switch.{name}": process.log_e for name, process in self.switches.processes.items()}
        found |= {f"log_e.guard.{RATES}": self.rates.log_guard, f"log_e.switch.{RATES}": self.rates.log_likeness}
        return found | {"log_e.guard": self.guard, "log_e.switch": self.switch}


def design_effect(outcomes: list[Float]) -> float:
    """Return how many times the outcomes' mean over a presentation scatters more than if its windows were independent.

    Outcomes of presentations, each (window, judge); the largest over judges, 1 at least; NaN for fewer than three.
    """
    if len(outcomes) < 3:
        return float("nan")
    windows = np.concatenate(outcomes)
    means = np.array([part.mean(axis=0) for part in outcomes])
    size = float(np.mean([len(part) for part in outcomes]))
    scatter = windows.var(axis=0)
    found = np.where(scatter > 0, means.var(axis=0, ddof=1) * size / np.where(scatter > 0, scatter, 1), 1.0)
    return max(1.0, float(found.max()))
