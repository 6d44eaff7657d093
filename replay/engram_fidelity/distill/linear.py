"""The tier `linear`: one filter a cell over the remembered past, and a rising line from its drive to a rate.

The filter comes from ridge regression, solved at once, or from a Poisson likelihood with a softplus (the linear-nonlinear-Poisson
model), learned from there; the better on the validation trials is kept. The line is fitted to the training trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_fidelity.distill.basis import Past, Scale, add_past, spread_of
from engram_fidelity.distill.budget import Budget, Pacer, Progress
from engram_fidelity.distill.calibrate import Ramp, poisson_loss
from engram_fidelity.distill.fast import rate_of, resting, sigmoid
from engram_fidelity.distill.learning import Fitted, Learned, Recipe, Weights, learn
from engram_fidelity.distill.target import Target
from engram_fidelity.experiment import Experiment
from engram_fidelity.graph import F32, Graph

UPDATES: Final = 600
RECIPE: Final = Recipe(rate=3e-3, decay=0.05)
PENALTIES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of ridge regression, as shares of the number of bins, for features of unit spread."""

_ROWS: Final = {"filter": 0}
_BATCH: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """A filter and a line for each cell."""

    scale: Scale
    basis: F32
    """(lag, bump)."""
    spread: F32
    """(channel x bump,): what each feature is multiplied by."""
    filter: F32
    """(channel x bump, cell)."""
    bias: F32
    """(cell,)."""
    ramp: Ramp
    by: str
    """`ridge` or `poisson`."""

    def to_onnx(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Write one bin as a graph."""
        channels, cells = len(self.scale.mean), len(self.bias)
        graph = Graph(
            "student", doc="A filter a cell over the remembered past of the stimulus, and a line to its rate."
        )
        stimulus = graph.take("stimulus", channels, doc="one bin, in the unit of the recording")
        features = add_past(graph, self.scale.add_to(graph, stimulus), self.basis, self.spread, channels)
        rate = self.ramp.add_to(graph, graph.dense("drive", features, self.filter, self.bias), "rate")
        graph.give(rate, cells, doc="expected count per bin")
        graph.give("state_out", len(self.basis) - 1, channels)
        return graph.finish(metadata)

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        return self.filter.size + self.bias.size + self.ramp.knots.size + self.ramp.slopes.size + self.ramp.base.size


def fit(
    training: Experiment,
    validation: Experiment,
    *,
    targets: Sequence[F32],
    target: Target,
    seed: int,
    budget: Budget,
    progress: Progress,
) -> Fitted[Filters]:
    """Fit filters and lines to the targets of the training trials, (time, cell) each."""
    random = np.random.default_rng([seed, 0x114EA2])
    pacer = Pacer(budget)
    scale = Scale.of(training)
    past, judged = Past(training, scale, targets=targets), Past(validation, scale)
    spread = spread_of(past)
    chosen = judged.some()
    blocks = [(features * spread, counts) for features, counts in judged.blocks(chosen)]
    answered = judged.counts[chosen]
    ridge = _ridge(past, spread, blocks)
    start = {"filter": _as_softplus(ridge["filter"], past.counts), "bias": resting(past.counts)}

    def held(now: Weights) -> Weights:
        return target.held(now, rows=_ROWS)

    def gradient(now: Weights) -> Weights:
        bins = random.integers(0, len(past), _BATCH)
        features, counts = past.of(bins) * spread, past.counts[bins]
        drive = np.asarray(features @ held(now)["filter"] + now["bias"], np.float32)
        by_drive = (np.float32(1) - counts / rate_of(drive)) * sigmoid(drive) / np.float32(_BATCH)
        return {"filter": features.T @ by_drive, "bias": by_drive.sum(axis=0)}

    def validate(now: Weights) -> float:
        return poisson_loss(rate_of(_drives(held(now), blocks)), answered)

    learned = learn(start, gradient=gradient, validate=validate, pacer=pacer, recipe=RECIPE, progress=progress)
    some = [(features * spread, counts) for features, counts in past.blocks(past.some())]
    found: list[tuple[float, str, Weights, Ramp]] = []
    for by, weights in (("ridge", held(ridge)), ("poisson", held(learned.weights))):
        ramp = Ramp.fitted(_drives(weights, some), np.concatenate([counts for _, counts in some]))
        found.append((poisson_loss(ramp.rate(_drives(weights, blocks)), answered), by, weights, ramp))
    loss, by, best, ramp = min(found, key=lambda one: one[0])
    filters = Filters(scale, past.basis, spread, best["filter"], best["bias"], ramp, by)
    return Fitted(filters, Learned(dict(best), loss, learned.updates, learned.best_at), loss, calibrated=True)


def _drives(weights: Weights, blocks: Sequence[tuple[F32, F32]]) -> F32:
    return np.concatenate([features @ weights["filter"] + weights["bias"] for features, _ in blocks])


def _ridge(past: Past, spread: F32, judged: Sequence[tuple[F32, F32]]) -> dict[str, F32]:
    """Solve for the filters with each penalty; return those with the least squared error on the validation trials."""
    mean = past.counts.mean(axis=0, dtype=np.float64)
    own, other = np.zeros((past.features, past.features)), np.zeros((past.features, len(mean)))
    for features, counts in past.blocks():
        scaled = features * spread
        own += scaled.T @ scaled
        other += scaled.T @ (counts - mean.astype(np.float32))
    found: list[tuple[float, F32]] = []
    for penalty in PENALTIES:
        solved = np.linalg.solve(own + penalty * len(past) * np.eye(len(own)), other).astype(np.float32)
        errors = [float(np.square(features @ solved + mean - counts).sum()) for features, counts in judged]
        found.append((sum(errors), solved))
    return {"filter": min(found, key=lambda one: one[0])[1], "bias": mean.astype(np.float32)}


def _as_softplus(filters: F32, counts: F32) -> F32:
    """Return filters whose softplus has, at rest, the slope that the linear ones have."""
    rest = sigmoid(resting(counts))
    return np.asarray(filters / np.maximum(rest, np.float32(0.01)), np.float32)
