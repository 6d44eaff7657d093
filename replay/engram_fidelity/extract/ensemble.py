"""An ensemble of small networks that answer a stimulus with expected counts; how far they disagree says what is not known yet.

Each member is a network with one hidden layer (tanh) and a softplus, fitted by Adam to the Poisson likelihood of the counts, from
weights of its own and to queries weighted at random (the Bayesian bootstrap: exponential weights). All members are trained
together, as one array with a member axis. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

FLOOR: Final = 1e-4
"""Expected counts are at least this, so that one unexpected spike costs no fortune."""
_DECAY: Final = 3.0
_FEW: Final = 40
"""Features up to which `_DECAY` is enough."""
_BATCH: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Networks of one shape over the same features. Weights in the features' own units are `mean` and `scale` away."""

    mean: Float
    """(feature,)"""
    scale: Float
    """(feature,)"""
    inner: Float
    """(member, feature, hidden)"""
    inner_bias: Float
    """(member, 1, hidden)"""
    outer: Float
    """(member, hidden, cell)"""
    outer_bias: Float
    """(member, 1, cell)"""
    gains: Float
    """What the expectations are multiplied with, fitted on random queries alone: (cell,)."""

    @property
    def members(self) -> int:
        """How many networks there are."""
        return len(self.inner)

    def each(self, features: Float) -> Float:
        """Return the expected counts of each member: (member, row, cell) for features (row, feature)."""
        hidden = np.tanh((features - self.mean) / self.scale @ self.inner + self.inner_bias)
        return self.gains * (np.logaddexp(0, hidden @ self.outer + self.outer_bias) + FLOOR)

    def expected(self, features: Float) -> Float:
        """Return the mean over members: (row, cell)."""
        return np.asarray(self.each(features).mean(axis=0), np.float64)

    def pull(self, features: Float, force: Float) -> Float:
        """Return the gradient on features (row, feature) of what has the gradient `force` (row, cell) on expectations."""
        hidden = np.tanh((features - self.mean) / self.scale @ self.inner + self.inner_bias)
        inside = hidden @ self.outer + self.outer_bias
        back = (force * self.gains / self.members) / (1 + np.exp(-inside))
        back = back @ self.outer.swapaxes(1, 2) * (1 - hidden**2)
        return np.asarray((back @ self.inner.swapaxes(1, 2)).sum(axis=0) / self.scale, np.float64)

    def calibrated(self, features: Float, counts: Float) -> Ensemble:
        """Return the ensemble with gains such that each cell's expected counts add up to those seen; few spikes move little."""
        plain = replace(self, gains=np.ones_like(self.gains))
        trust = 10.0
        return replace(self, gains=(counts.sum(axis=0) + trust) / (plain.expected(features).sum(axis=0) + trust))


def fit(
    features: Float,
    counts: Float,
    group: NDArray[np.intp],
    *,
    seed: int,
    members: int = 5,
    hidden: int = 32,
    updates: int = 250,
    decay: float | None = None,
) -> Ensemble:
    """Fit an ensemble to rows of features (row, feature) and counts (row, cell); rows of one query have one number in `group`.

    `decay` draws weights to zero, by default the stronger the more features there are. The bootstrap draws
    queries, not rows. The same seed gives the same networks.
    """
    rng = np.random.default_rng([seed, 0xE25E])
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    inputs, cells = (features - mean) / scale, counts.shape[1]
    weight = rng.exponential(size=(members, group.max() + 1))[:, group]
    width = features.shape[1]
    drawn = _DECAY * max(1.0, width / _FEW) if decay is None else decay
    rate = counts.mean(axis=0) + 0.05
    parameters = [
        rng.normal(size=(members, width, hidden)) / np.sqrt(width),
        np.zeros((members, 1, hidden)),
        rng.normal(size=(members, hidden, cells)) * 0.5 / np.sqrt(hidden),
        np.broadcast_to(np.log(np.expm1(rate)), (members, 1, cells)).copy(),
    ]
    first, second = ([np.zeros_like(value) for value in parameters] for _ in range(2))
    rows = np.arange(len(inputs))
    for update in range(updates):
        if len(rows) > _BATCH:
            rows = rng.integers(0, len(inputs), _BATCH)
        gradients = _gradients(parameters, inputs[rows], counts[rows], weight[:, rows])
        step = 0.01 * min(1.0, 2 * (1 - update / updates))
        for number, gradient in enumerate(gradients):
            first[number] += 0.1 * (gradient - first[number])
            second[number] += 0.01 * (gradient**2 - second[number])
            ahead = first[number] / (1 - 0.9 ** (update + 1))
            size = np.sqrt(second[number] / (1 - 0.99 ** (update + 1))) + 1e-8
            shrunk = drawn if number in {0, 2} else 0.0
            parameters[number] = parameters[number] * (1 - step * shrunk) - step * ahead / size
    inner, inner_bias, outer, outer_bias = parameters
    return Ensemble(mean, scale, inner, inner_bias, outer, outer_bias, np.ones(cells))


def _gradients(parameters: list[Float], inputs: Float, counts: Float, weight: Float) -> list[Float]:
    """Return the gradients of the weighted Poisson loss per row: of expectations e and counts k, e - k log e."""
    inner, inner_bias, outer, outer_bias = parameters
    hidden = np.tanh(inputs @ inner + inner_bias)
    inside = hidden @ outer + outer_bias
    expected = np.logaddexp(0, inside) + FLOOR
    force = weight[..., None] * (1 - counts / expected) / (1 + np.exp(-inside)) / len(inputs)
    back = force @ outer.swapaxes(1, 2) * (1 - hidden**2)
    return [
        inputs.T @ back,
        back.sum(axis=1, keepdims=True),
        hidden.swapaxes(1, 2) @ force,
        force.sum(axis=1, keepdims=True),
    ]
