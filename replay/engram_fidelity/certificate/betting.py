"""Bets on which of two windows is the network's, by discriminators that have learned from earlier repeats only.

A repeat of the network and one of the student are cut into windows under the same stimulus; each is a pair. A discriminator that
was trained on earlier repeats says which is real, and `engram_fidelity.sequential` turns that into evidence. Pairs in which nobody
fired are left out, since nothing can be told of them: who is called real makes no difference to that choice, and a student of
a network that is mostly silent is not certified by silence.

The unit of a bet is the repeat: its outcome is the share of its pairs in which the discriminator was right. A network's
excitability wanders from one repeat to the next, so that windows of one repeat rise and fall together; counted one by one they
would be evidence many times over (the retina was told from itself in one of eight runs that way, at a level of one in twenty).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.value import Betting, Settings, Switch
from engram_fidelity.extras import need
from engram_fidelity.report.evidence import BetTrace
from engram_fidelity.sequential import EProcess, guard, switch, threshold
from engram_fidelity.twosample import Windows, conditioned, window_features

F64 = NDArray[np.float64]

Name = Literal["logistic", "boosted"]

PANEL: Final[tuple[Name, ...]] = ("logistic", "boosted")
_LEARNT_FIRST: Final = 4
"""Repeats, or a third of them where that is less, before the first bet."""
_GROWTH: Final = 1.6
"""A discriminator learns anew when there are so many times the repeats that it has learned from."""
_SWITCH_BETS: Final = (0.4, 1.0)
"""Shares of the largest bet that a switch may make. Outcomes are means over many pairs and scatter little, so bets are large."""
_LARGEST_RISK: Final = 0.95
_LN10: Final = float(np.log(10))
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """How the bets of a panel went."""

    outcomes: Mapping[str, F64]
    """By discriminator, (repeat,): the share of the repeat's pairs in which it was right, ties as half."""
    pairs_of: F64
    """How many pairs each repeat had in which somebody fired, (repeat,)."""

    @property
    def repeats(self) -> int:
        """How many were bet on."""
        return len(self.pairs_of)

    @property
    def pairs(self) -> int:
        """How many pairs they had."""
        return int(self.pairs_of.sum())

    def trace(self, settings: Settings) -> BetTrace:
        """Return how the evidence grew: of the guard the mean e-value of the panel, of a switch the least."""
        guards = np.stack([guard().trajectory(one) for one in self.outcomes.values()])
        top = guards.max(axis=0)
        together = top + np.log(np.exp(guards - top).mean(axis=0))
        switches = {
            epsilon: np.stack([switch_over_repeats(epsilon).trajectory(one) for one in self.outcomes.values()]).min(
                axis=0
            )
            / _LN10
            for epsilon in settings.epsilons
        }
        return BetTrace(together / _LN10, switches)

    def summary(self, trace: BetTrace, settings: Settings) -> Betting:
        """Return what a certificate says of them."""
        limit = threshold(settings.alpha) / _LN10
        return Betting(
            repeats=self.repeats,
            pairs=self.pairs,
            right={name: float(np.average(one, weights=self.pairs_of)) for name, one in self.outcomes.items()},
            guard_log10_e=float(trace.guard[-1]),
            guard_at=_first(trace.guard, limit),
            switches=tuple(
                Switch(
                    epsilon=epsilon,
                    log10_e=float(grown[-1]),
                    reached_at=_first(grown, limit),
                    repeats_needed=self._needed(epsilon, settings.alpha),
                )
                for epsilon, grown in sorted(trace.switches.items(), reverse=True)
            ),
        )

    def epsilon_with_power(self, alpha: float) -> float:
        """Return the least epsilon that an exact double, whose outcomes scatter as these do, would have been shown to keep.

        To 1/1000, and one half at most.
        """
        for epsilon in np.arange(1, 500) / 1000:
            if all(switch_over_repeats(epsilon).update(one).log_e >= threshold(alpha) for one in self._doubles()):
                return float(epsilon)
        return 0.5

    def _needed(self, epsilon: float, alpha: float) -> int | None:
        """Return about how many repeats an exact double with this scatter needs; `None` where no number is enough."""
        needed = 0
        for one in self._doubles():
            process = switch_over_repeats(epsilon)
            growth = max(float(np.log1p(bet * (process.centre - one)).mean()) for bet in process.bets)
            if growth <= 0:
                return None
            needed = max(needed, int(np.ceil((threshold(alpha) + np.log(len(process.bets))) / growth)))
        return needed

    def _doubles(self) -> list[F64]:
        """Return the outcomes as they would be of an exact double: the same scatter, about one half."""
        return [np.clip(one - one.mean() + 0.5, 0.0, 1.0) for one in self.outcomes.values()]


def switch_over_repeats(epsilon: float) -> EProcess:
    """Start the test of "told apart by at least epsilon", for outcomes that are means over a repeat."""
    most = _LARGEST_RISK / (0.5 - epsilon)
    return switch(epsilon, tuple(most * share for share in _SWITCH_BETS))


def bet(
    real: F64, other: F64, expected: F64, windows: Windows, *, seed: int, panel: tuple[Name, ...] = PANEL
) -> Bets | None:
    """Bet on repeats real and other (repeat, time, cell) of one stimulus, in an order drawn from the seed.

    `expected` (time, cell) is told to the discriminators beside the windows. `None` where there are fewer than three repeats of
    each, or nobody fired in those that are bet on. Needs scikit-learn.
    """
    count = min(len(real), len(other))
    first = min(_LEARNT_FIRST, count // 3)
    if first < 1:
        return None
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(side))[:count] for side in (real, other)]
    told = windows.cut(expected[None]).sum(axis=2)[0]
    sides = [
        conditioned(window_features(side[order], windows), told)
        for side, order in zip((real, other), orders, strict=True)
    ]
    fired = (sides[0][:, :, : real.shape[2]].sum(axis=2) + sides[1][:, :, : real.shape[2]].sum(axis=2)) > 0
    found: dict[str, list[float]] = {name: [] for name in panel}
    numbers: list[int] = []
    start = first
    while start < count:
        stop = min(count, max(start + 1, round(start * _GROWTH)))
        kept = fired[start:stop]
        for name in panel:
            scores = _scores(name, [side[:start] for side in sides], [side[start:stop][kept] for side in sides], seed)
            right = (scores[0] > scores[1]) + 0.5 * (scores[0] == scores[1])
            found[name] += [float(one.mean()) for one in np.split(right, np.cumsum(kept.sum(axis=1))[:-1]) if len(one)]
        numbers += [int(one) for one in kept.sum(axis=1) if one]
        start = stop
    if not numbers:
        return None
    return Bets({name: np.array(each) for name, each in found.items()}, np.array(numbers, np.float64))


def _scores(name: Name, learned: list[F64], judged: list[F64], seed: int) -> list[F64]:
    """Train on windows of both kinds (repeat, window, feature) and score others (pair, feature): higher is more real."""
    if not len(judged[0]):
        return [np.empty(0), np.empty(0)]
    rows = np.concatenate([side.reshape(-1, side.shape[2]) for side in learned])
    truth = np.repeat([1, 0], len(rows) // 2)
    middle, spread = rows.mean(axis=0), rows.std(axis=0) + _TINY
    model = _classifier(name, seed).fit((rows - middle) / spread, truth)
    return [np.asarray(model.decision_function((side - middle) / spread), np.float64) for side in judged]


def _classifier(name: Name, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    if name == "logistic":
        return need("sklearn.linear_model", "certify").LogisticRegression(C=0.03, max_iter=200)
    return need("sklearn.ensemble", "certify").HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, learning_rate=0.1, early_stopping=False, random_state=seed
    )


def _first(grown: F64, limit: float) -> int | None:
    over = np.flatnonzero(grown >= limit)
    return int(over[0]) + 1 if len(over) else None
