"""Which stimuli are asked next.

- `random`: any that has not been asked. The only queries of which an unbiased statement about the student can be made.
- `disagree`: those about which the members of the ensemble differ most.
- `bald`: those that would tell most about which member is right, together: of a batch each next one is chosen for what the
  ones before it leave open, so that a batch is not forty times the same question.
- `mix`: half `bald`, half `random`. Pure uncertainty asks too often for what is loud, and ruins calibration.

What is told by a query about Poisson counts with expectations l_m of members m is approximated by Gaussians: deviations
(l_m - mean) / sqrt(mean) over all cells and bins span a kernel, and a batch is a pivoted Cholesky factorisation of it with unit
noise, which greedily maximises the log-determinant (Houlsby 2011; Kirsch 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class Policy(StrEnum):
    """How the next stimuli are chosen."""

    MIX = "mix"
    BALD = "bald"
    DISAGREE = "disagree"
    RANDOM = "random"


def choose(
    policy: Policy,
    free: NDArray[np.intp],
    count: int,
    *,
    predict: Callable[[NDArray[np.intp]], Float] | None,
    rng: np.random.Generator,
) -> list[tuple[int, Policy]]:
    """Choose `count` of the `free` stimuli (fewer if there are fewer), each with the policy that chose it.

    `predict` returns what each member expects of some stimuli, (stimulus, member, bin times cell); without it, all are random.
    """
    count = min(count, len(free))
    if predict is None or policy == Policy.RANDOM:
        return [(int(number), Policy.RANDOM) for number in rng.choice(free, count, replace=False)]
    if policy == Policy.MIX:
        plain = rng.choice(free, count - count // 2, replace=False)
        rest = np.setdiff1d(free, plain)
        chosen = choose(Policy.BALD, rest, count // 2, predict=predict, rng=rng)
        return [(int(number), Policy.RANDOM) for number in plain] + chosen
    expected = predict(free)
    if policy == Policy.DISAGREE:
        variance = expected.var(axis=1).sum(axis=1)
        return [(int(free[place]), policy) for place in np.argsort(-variance, kind="stable")[:count]]
    return [(int(free[place]), policy) for place in most_telling(expected, count)]


def most_telling(expected: Float, count: int) -> list[int]:
    """Choose stimuli greedily by what each adds, from expectations (stimulus, member, bin times cell)."""
    mean = expected.mean(axis=1, keepdims=True)
    deviation = (expected - mean) / np.sqrt(mean + 0.05)
    rows = deviation.reshape(len(expected), -1) / np.sqrt(expected.shape[1])
    left = (rows**2).sum(axis=1)
    factor = np.zeros((len(rows), count))
    taken: list[int] = []
    for number in range(count):
        best = int(np.argmax(left))
        taken.append(best)
        column = (rows @ rows[best] - factor[:, :number] @ factor[best, :number]) / np.sqrt(left[best] + 1.0)
        factor[:, number] = column
        left = np.maximum(left - column**2, 0)
        left[taken] = -1.0
    return taken
