"""Bets on which of two windows is the network's, by discriminators that have learned from earlier repeats only.

A repeat of the network and one of the student are cut into windows under the same stimulus; each is a pair. A discriminator that
was trained on earlier repeats says which is real, and `engram_fidelity.sequential` turns that into evidence. Pairs in which nobody
fired are left out, since nothing can be told of them: who is called real makes no difference to that choice, and a student of
a network that is mostly silent is not certified by silence.
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
from engram_fidelity.sequential import guard, pairs_needed, switch, threshold
from engram_fidelity.twosample import Windows, conditioned, window_features

F64 = NDArray[np.float64]

Name = Literal["logistic", "boosted"]

PANEL: Final[tuple[Name, ...]] = ("logistic", "boosted")
_LEARNT_FIRST: Final = 4
"""Repeats, or a third of them where that is less, before the first bet."""
_GROWTH: Final = 1.6
"""A discriminator learns anew when there are so many times the repeats that it has learned from."""
_LN10: Final = float(np.log(10))
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """How the bets of a panel went."""

    outcomes: Mapping[str, F64]
    """By discriminator, (pair,): 1 where it was right, 0.5 for a tie."""

    @property
    def pairs(self) -> int:
        """How many were bet on."""
        return len(next(iter(self.outcomes.values())))

    def trace(self, settings: Settings) -> BetTrace:
        """Return how the evidence grew: of the guard the mean e-value of the panel, of a switch the least."""
        guards = np.stack([guard().trajectory(one) for one in self.outcomes.values()])
        top = guards.max(axis=0)
        together = top + np.log(np.exp(guards - top).mean(axis=0))
        switches = {
            epsilon: np.stack([switch(epsilon).trajectory(one) for one in self.outcomes.values()]).min(axis=0) / _LN10
            for epsilon in settings.epsilons
        }
        return BetTrace(together / _LN10, switches)

    def summary(self, trace: BetTrace, settings: Settings) -> Betting:
        """Return what a certificate says of them."""
        limit = threshold(settings.alpha) / _LN10
        return Betting(
            pairs=self.pairs,
            right={name: float(one.mean()) for name, one in self.outcomes.items()},
            guard_log10_e=float(trace.guard[-1]),
            guard_at=_first(trace.guard, limit),
            switches=tuple(
                Switch(
                    epsilon=epsilon,
                    log10_e=float(grown[-1]),
                    reached_at=_first(grown, limit),
                    pairs_needed=pairs_needed(epsilon, settings.alpha),
                )
                for epsilon, grown in sorted(trace.switches.items(), reverse=True)
            ),
        )


def bet(real: F64, other: F64, expected: F64, windows: Windows, *, seed: int) -> Bets | None:
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
    found: dict[str, list[F64]] = {name: [] for name in PANEL}
    start = first
    while start < count:
        stop = min(count, max(start + 1, round(start * _GROWTH)))
        kept = fired[start:stop]
        for name in PANEL:
            scores = _scores(name, [side[:start] for side in sides], [side[start:stop][kept] for side in sides], seed)
            found[name].append((scores[0] > scores[1]) + 0.5 * (scores[0] == scores[1]))
        start = stop
    outcomes = {name: np.concatenate(parts) for name, parts in found.items()}
    return Bets(outcomes) if len(outcomes[PANEL[0]]) else None


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
