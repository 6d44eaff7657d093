"""The tier `fast`: a remembered past, one hidden layer, and rates; learned in numpy within half a minute.

How far back it remembers is what bounds it: on the retina's bars 360 ms give a correlation (CC_norm) of 0.85, 600 ms 0.93.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_fidelity.distill.basis import Past, Scale, add_past, spread_of
from engram_fidelity.distill.budget import Budget, Pacer, Progress
from engram_fidelity.distill.calibrate import Affine, poisson_loss
from engram_fidelity.distill.learning import Fitted, Recipe, Weights, learn
from engram_fidelity.distill.target import Target
from engram_fidelity.experiment import Experiment
from engram_fidelity.graph import F32, FLOOR, Graph

UPDATES: Final = 2000
RECIPE: Final = Recipe(rate=4e-3, decay=0.05)

_ROWS: Final = {"inner": 0, "outer": 0}
_BATCH: Final = 1024
_ONE = np.float32(1)


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """A hidden layer over a remembered past."""

    scale: Scale
    basis: F32
    """(lag, bump)."""
    spread: F32
    """(channel x bump,): what each feature is multiplied by."""
    inner: F32
    """(channel x bump, hidden)."""
    inner_bias: F32
    """(hidden,)."""
    outer: F32
    """(hidden, cell)."""
    outer_bias: F32
    """(cell,)."""

    def to_onnx(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Write one bin as a graph."""
        channels, cells = len(self.scale.mean), len(self.outer_bias)
        graph = Graph("student", doc="A hidden layer over the remembered past of the stimulus.")
        stimulus = graph.take("stimulus", channels, doc="one bin, in the unit of the recording")
        features = add_past(graph, self.scale.add_to(graph, stimulus), self.basis, self.spread, channels)
        graph.dense("inner", features, self.inner, self.inner_bias)
        graph.dense("drive", graph.silu("hidden", "inner"), self.outer, self.outer_bias)
        graph.add("Softplus", ["drive"], "count")
        rate = graph.add("Add", ["count", graph.hold("floor", FLOOR)], "rate")
        graph.give(rate, cells, doc="expected count per bin")
        graph.give("state_out", len(self.basis) - 1, channels)
        return graph.finish(metadata)

    def rate(self, features: F32) -> F32:
        """Return the expected counts (bin, cell) for the remembered pasts of some bins, (bin, channel x bump)."""
        weights = {
            "inner": self.inner,
            "inner_bias": self.inner_bias,
            "outer": self.outer,
            "outer_bias": self.outer_bias,
        }
        return rate_of(_drive(weights, features * self.spread))

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        return sum(one.size for one in (self.inner, self.inner_bias, self.outer, self.outer_bias))


def fit(
    training: Experiment,
    validation: Experiment,
    *,
    targets: Sequence[F32],
    target: Target,
    seed: int,
    budget: Budget,
    progress: Progress,
) -> Fitted[Layers]:
    """Fit the layers to the targets of the training trials, (time, cell) each, and calibrate them on the validation trials."""
    random = np.random.default_rng([seed, 0xFA57])
    pacer = Pacer(budget)
    scale = Scale.of(training)
    past, judged = Past(training, scale, targets=targets), Past(validation, scale)
    spread = spread_of(past)
    weights = _first(random, features=past.features, hidden=target.layer, counts=past.counts)
    chosen = judged.some()
    blocks = [features * spread for features, _ in judged.blocks(chosen)]
    counts = judged.counts[chosen]

    def held(now: Weights) -> Weights:
        return target.held(now, rows=_ROWS)

    def gradient(now: Weights) -> Weights:
        bins = random.integers(0, len(past), _BATCH)
        return _gradient(held(now), past.of(bins) * spread, past.counts[bins])

    def validate(now: Weights) -> float:
        drives = np.concatenate([_drive(held(now), features) for features in blocks])
        return poisson_loss(rate_of(drives), counts)

    learned = learn(weights, gradient=gradient, validate=validate, pacer=pacer, recipe=RECIPE, progress=progress)
    best = held(learned.weights)
    drive = np.concatenate([_drive(best, features) for features in blocks])
    calibration = Affine.fitted(judged.by_trial(chosen, drive), judged.by_trial(chosen, counts))
    loss = poisson_loss(calibration.rate(drive), counts)
    outer, outer_bias = calibration.into(best["outer"], best["outer_bias"])
    layers = Layers(scale, past.basis, spread, best["inner"], best["inner_bias"], outer, outer_bias)
    return Fitted(layers, learned, loss, calibrated=not calibration.changes_nothing)


def _first(random: np.random.Generator, *, features: int, hidden: int, counts: F32) -> dict[str, F32]:
    cells = counts.shape[1]
    return {
        "inner": random.standard_normal((features, hidden), np.float32) / np.float32(np.sqrt(features)),
        "inner_bias": np.zeros(hidden, np.float32),
        "outer": random.standard_normal((hidden, cells), np.float32) * np.float32(0.1 / np.sqrt(hidden)),
        "outer_bias": resting(counts),
    }


def rate_of(drive: F32) -> F32:
    """Return the expected counts for a drive."""
    return np.asarray(np.logaddexp(np.float32(0), drive) + np.float32(FLOOR))


def resting(counts: F32) -> F32:
    """Return the drive at which a softplus gives the mean counts: (bin, cell) to (cell,)."""
    mean = np.maximum(counts.mean(axis=0, dtype=np.float64), 1e-4)
    return np.asarray(np.log(np.expm1(mean)), np.float32)


def sigmoid(x: F32) -> F32:
    """Return 1 / (1 + exp(-x))."""
    return np.reciprocal(_ONE + np.exp(-np.clip(x, -80, 80)))


def silu(x: F32) -> F32:
    """Return x sigmoid(x)."""
    return x * sigmoid(x)


def _drive(weights: Weights, features: F32) -> F32:
    hidden = silu(features @ weights["inner"] + weights["inner_bias"])
    return hidden @ weights["outer"] + weights["outer_bias"]


def _gradient(weights: Weights, features: F32, counts: F32) -> Weights:
    """Return the gradient of the mean over bins of the Poisson loss, added over cells."""
    inner = features @ weights["inner"] + weights["inner_bias"]
    gate = sigmoid(inner)
    hidden = inner * gate
    drive = np.asarray(hidden @ weights["outer"] + weights["outer_bias"], np.float32)
    rate = rate_of(drive)
    by_drive = (_ONE - counts / rate) * sigmoid(drive) / np.float32(len(features))
    by_inner = (by_drive @ weights["outer"].T) * gate * (_ONE + inner * (_ONE - gate))
    return {
        "inner": features.T @ by_inner,
        "inner_bias": by_inner.sum(axis=0),
        "outer": hidden.T @ by_drive,
        "outer_bias": by_drive.sum(axis=0),
    }
