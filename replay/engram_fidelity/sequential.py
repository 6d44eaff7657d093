"""Tests that may be looked at after every pair: wagers against a claim, whose wealth is evidence that it is false.

In each pair a discriminator that was trained on earlier pairs alone says which of two answers to one stimulus is the real one:
`outcome` is 1 if it names the real one, 0 if the student's, one half for a tie (or anything between). A bet of size l multiplies
wealth by 1 + l (outcome - p0), or by 1 + l (p0 - outcome); if the claim holds, wealth is expected not to grow, so it ever reaches
1 / alpha with probability alpha at most (Ville 1939), at whatever time one stops. An e-process here is the wealth of several bets
together.

*guard*: claims that nobody can tell them apart (p = 1/2). Wealth says that somebody can.
*switch*: claims that they can be told apart (p at least 1/2 + epsilon). Wealth says that this discriminator cannot. That a guard
is quiet says nothing of the kind.

Shekhar and Ramdas, "Nonparametric two-sample testing by betting", IEEE Trans. Inf. Theory 2023; Podkopaev and Ramdas, "Sequential
predictive two-sample and independence testing", NeurIPS 2023; Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 2024. All wealth is kept as its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats
from engram_format.errors import InvalidInput

GUARD_BETS: Final = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 1.8)
"""Sizes of the guard's bets: the best against a probability of 1/2 + d is about 4 d, so from under 1 % up to nearly 1/2."""
_SWITCH_BETS: Final = (0.125, 0.25, 0.5, 1.0, 2.0)
_SWITCH_SHARES: Final = (0.05, 0.1, 0.2, 0.5, 0.15)
_LARGEST_RISK: Final = 0.95


@dataclass(frozen=True, slots=True)
class EProcess:
    """The evidence so far against one claim about p; a value: `update` returns the next.

    Under the claim, `log_e` ever reaches ln(1 / alpha) with probability alpha at most.
    """

    centre: float
    """The probability that the claim is about, p0."""
    sign: int
    """1 if wealth grows with outcomes above the centre (guard), -1 if with those below (switch)."""
    bets: tuple[float, ...]
    log_wealth: tuple[float, ...]
    """Of each bet, natural logarithm, its share at the start included."""
    pairs: int = 0
    """How many outcomes it has seen."""
    peak: float = 0.0
    """The largest `log_e` so far: what a test at any time may use."""

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value: of the wealth of all bets together, 1 at the start."""
        return _log_sum(np.array(self.log_wealth)).item()

    def update(self, outcome: ArrayLike) -> EProcess:
        """Return the process after one outcome, or after several in order. Raises `InvalidInput` for one outside 0 to 1."""
        outcomes = _outcomes(outcome)
        if not len(outcomes):
            return self
        path = self._path(outcomes)
        best = max(self.peak, float(_log_sum(path).max()))
        wealth = tuple(float(value) for value in path[-1])
        return replace(self, log_wealth=wealth, pairs=self.pairs + len(outcomes), peak=best)

    def trajectory(self, outcomes: ArrayLike) -> Floats:
        """Return `log_e` after each of the outcomes to come, (pair,)."""
        return _log_sum(self._path(_outcomes(outcomes)))

    def reached(self, alpha: float) -> bool:
        """Whether the evidence refutes the claim at level `alpha` now."""
        return self.log_e >= threshold(alpha)

    def _path(self, outcomes: Floats) -> Floats:
        """Return the log wealth of each bet after each outcome, (pair, bet)."""
        risks = np.outer(self.sign * (outcomes - self.centre), self.bets)
        return np.asarray(np.array(self.log_wealth) + np.cumsum(np.log1p(risks), axis=0))


def guard(bets: tuple[float, ...] = GUARD_BETS) -> EProcess:
    """Start the test of "real and student cannot be told apart", p = 1/2, in which outcomes above 1/2 win.

    Bets are of any size between 0 and 2, all of one share. Raises `InvalidInput` for another.
    """
    return _start(0.5, 1, bets, tuple(1 / len(bets) for _ in bets))


def switch(eps: float, bets: tuple[float, ...] | None = None) -> EProcess:
    """Start the test of "they can be told apart by at least `eps`", p at least 1/2 + eps, in which outcomes below win.

    The bets of the default lie around the best one against a fair coin, eps / (1/4 - eps^2), which has half of the shares. Raises
    `InvalidInput` for an `eps` not between 0 and 1/2, and for a bet that could lose more than there is.
    """
    if not 0 < eps < 0.5:
        raise InvalidInput(
            f"an epsilon of {eps} is none: give the share above one half that may be told apart, such as 0.05"
        )
    if bets is not None:
        return _start(0.5 + eps, -1, bets, tuple(1 / len(bets) for _ in bets))
    best = eps / (0.25 - eps**2)
    most = _LARGEST_RISK / (0.5 - eps)
    return _start(0.5 + eps, -1, tuple(min(most, best * size) for size in _SWITCH_BETS), _SWITCH_SHARES)


def _start(centre: float, sign: int, bets: tuple[float, ...], shares: tuple[float, ...]) -> EProcess:
    loss = centre if sign > 0 else 1 - centre
    if not bets or not all(0 < bet * loss < 1 for bet in bets):
        raise InvalidInput(
            f"bets of {bets} can lose more than there is, or nothing: choose them between 0 and {1 / loss:.4g}"
        )
    return EProcess(centre=centre, sign=sign, bets=bets, log_wealth=tuple(math.log(share) for share in shares))


@dataclass(frozen=True, slots=True)
class Panel:
    """The evidence of several discriminators that see the same pairs; a value: `update` returns the next."""

    processes: Mapping[str, EProcess]
    """By the name of the discriminator."""

    @classmethod
    def of(cls, names: tuple[str, ...], process: EProcess) -> Panel:
        """Start the same test for each discriminator. Raises `InvalidInput` for none, or a name used twice."""
        if not names or len(set(names)) < len(names):
            raise InvalidInput("a panel needs discriminators of different names: give at least one")
        return cls(dict.fromkeys(names, process))

    def update(self, outcomes: Mapping[str, ArrayLike]) -> Panel:
        """Return the panel after every discriminator judged the same pairs. Raises `InvalidInput` for other names or numbers."""
        if outcomes.keys() != self.processes.keys():
            raise InvalidInput(
                f"the panel is {sorted(self.processes)}, and {sorted(outcomes)} judged: let all of it judge each pair"
            )
        if len({np.size(outcome) for outcome in outcomes.values()}) > 1:
            raise InvalidInput("the panel judged different numbers of pairs: let all of it judge each pair")
        return Panel({name: process.update(outcomes[name]) for name, process in self.processes.items()})

    @property
    def pairs(self) -> int:
        """How many pairs it has judged."""
        return next(iter(self.processes.values())).pairs

    @property
    def weakest(self) -> str:
        """The discriminator with the least evidence: for a switch, the one that tells them apart best."""
        return min(self.processes, key=lambda name: self.processes[name].log_e)

    @property
    def log_e_all(self) -> float:
        """Evidence that *every* claim is false, the least of all (intersection-union: needs no correction). For switches."""
        return min(process.log_e for process in self.processes.values())

    @property
    def log_e_any(self) -> float:
        """Evidence that *some* claim is false: the mean e-value, which is one too whatever the dependence. For guards."""
        each = np.array([process.log_e for process in self.processes.values()])
        return _log_sum(each).item() - math.log(len(each))


def threshold(alpha: float) -> float:
    """Return ln(1 / alpha), the `log_e` that refutes a claim at level `alpha`; raises `InvalidInput` for one outside 0 to 1."""
    if not 0 < alpha < 1:
        raise InvalidInput(f"a level of {alpha} is none: give the share of false alarms allowed, such as 0.05")
    return -math.log(alpha)


def crossing(process: EProcess, outcomes: ArrayLike, alpha: float) -> int | None:
    """Return after how many of the outcomes the claim is first refuted at `alpha`, counted from 1, or None."""
    over = np.flatnonzero(process.trajectory(outcomes) >= threshold(alpha))
    return int(over[0]) + 1 if len(over) else None


def pairs_needed(eps: float, alpha: float, *, power: float = 0.5) -> int:
    """Return how many fair pairs a switch at `eps` needs, so that its best bet reaches 1 / alpha with probability `power`.

    Log wealth drifts by 2 eps^2 a pair and spreads by 2 eps: for one half that is 2 ln(1/alpha) / (4 eps^2), 600 at 0.05 and 0.05.
    """
    if not 0 < eps < 0.5:
        raise InvalidInput(
            f"an epsilon of {eps} is none: give the share above one half that may be told apart, such as 0.05"
        )
    return math.ceil((_effort(alpha, power) / eps) ** 2)


def epsilon_with_power(pairs: int, alpha: float, *, power: float = 0.5) -> float:
    """Return the smallest epsilon for which `pairs` fair pairs suffice in the sense of `pairs_needed`, one half if none does."""
    return min(0.5, _effort(alpha, power) / math.sqrt(pairs)) if pairs > 0 else 0.5


def _effort(alpha: float, power: float) -> float:
    """Solve 2 x^2 - 2 z x = ln(1/alpha) for x = eps sqrt(pairs), z being the normal quantile of the power."""
    if not 0 < power < 1:
        raise InvalidInput(f"a power of {power} is none: give the probability wanted, such as 0.5")
    z = NormalDist().inv_cdf(power)
    return (z + math.sqrt(z * z + 2 * threshold(alpha))) / 2


def _outcomes(outcome: ArrayLike) -> Floats:
    values = np.atleast_1d(np.asarray(outcome, dtype=np.float64))
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InvalidInput(
            "an outcome is 1 where the real answer was named, 0 where the student's, 1/2 for a tie: give such, in order"
        )
    return values


def _log_sum(logs: Floats) -> Floats:
    """Return ln of the sum of exponentials over the last axis."""
    top = logs.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(logs - top).sum(axis=-1)) + top[..., 0])
