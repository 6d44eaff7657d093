"""Learning by gradients, in numpy: Adam with decoupled decay, averaged weights, and the validation trials to say when to stop.

What is kept is a running average of the weights (Polyak and Juditsky, 1992), which is judged on the validation trials; of all
that were judged, the best. Where the gradient comes from is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from engram_fidelity.distill.budget import Pacer, Progress
from engram_fidelity.graph import F32
from engram_format.errors import InvalidInput

ModelT = TypeVar("ModelT")

Weights = Mapping[str, F32]
"""Arrays by name; a learner changes them in place."""
Gradient = Callable[[Weights], Weights]
"""Gives the gradient of the loss on some trials that it draws."""
Validate = Callable[[Weights], float]
"""Gives the loss on the validation trials."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a learner steps."""

    rate: float
    """The longest step."""
    decay: float = 0.0
    """The share of a matrix that is taken away by a step of length 1; biases do not decay."""
    clip: float = 1.0
    """The greatest length of the gradient over all weights."""
    averaging: float = 0.995
    """How much of the average is kept by an update, once there were many."""
    every: int = 50
    """Updates from one validation to the next."""
    patience: int = 12
    """Validations without a better one after which learning stops."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning came to."""

    weights: dict[str, F32]
    loss: float
    """On the validation trials."""
    updates: int
    """How many were planned, which repeats the training exactly."""
    best_at: int
    """The update after which the weights are these."""


@dataclass(frozen=True, slots=True)
class Fitted(Generic[ModelT]):
    """A model with what is to be told of its making."""

    model: ModelT
    learned: Learned
    loss: float
    """On the validation trials, calibrated: nats per bin, added over cells, but for terms of the counts alone."""
    calibrated: bool
    """Whether calibrating helped and was kept."""


def learn(
    weights: dict[str, F32],
    *,
    gradient: Gradient,
    validate: Validate,
    pacer: Pacer,
    recipe: Recipe,
    progress: Progress,
) -> Learned:
    """Change the weights until the pacer is done or patience is at an end; raises `InvalidInput` if the loss never is a number."""
    slopes = {name: np.zeros_like(weight) for name, weight in weights.items()}
    powers = {name: np.zeros_like(weight) for name, weight in weights.items()}
    average = {name: weight.copy() for name, weight in weights.items()}
    best, best_loss, best_at, waited = average, math.inf, 0, 0
    while not pacer.done:
        step = recipe.rate * pacer.step()
        _adam(weights, gradient(weights), slopes, powers, step=step, made=pacer.made + 1, recipe=recipe)
        pacer.count()
        kept = min(recipe.averaging, pacer.made / (pacer.made + 9.0))
        for name, weight in weights.items():
            average[name] += np.float32(1 - kept) * (weight - average[name])
        if pacer.made % recipe.every and not pacer.done:
            continue
        loss, waited = validate(average), waited + 1
        if loss < best_loss:
            best, best_loss, best_at, waited = {name: one.copy() for name, one in average.items()}, loss, pacer.made, 0
        progress(pacer.made, pacer.total, best_loss)
        if waited > recipe.patience:
            break
    if not math.isfinite(best_loss):
        raise InvalidInput(
            "the training did not come to a loss that is a number: look at the stimulus for values far off"
        )
    return Learned(best, best_loss, pacer.total, best_at)


def _adam(
    weights: Weights,
    gradient: Weights,
    slopes: Weights,
    powers: Weights,
    *,
    step: float,
    made: int,
    recipe: Recipe,
) -> None:
    """Make one update (Kingma and Ba, 2015; decay as Loshchilov and Hutter, 2019)."""
    length = math.sqrt(sum(float(np.vdot(grad, grad)) for grad in gradient.values()))
    shrunk = np.float32(min(1.0, recipe.clip / (length + 1e-6)))
    by_slope, by_power = np.float32(1 - 0.9**made), np.float32(1 - 0.999**made)
    for name, weight in weights.items():
        grad = gradient[name] * shrunk
        slope, power = slopes[name], powers[name]
        slope += np.float32(0.1) * (grad - slope)
        power += np.float32(0.001) * (grad * grad - power)
        if weight.ndim > 1:
            weight *= np.float32(1 - step * recipe.decay)
        weight -= np.float32(step) * (slope / by_slope) / (np.sqrt(power / by_power) + np.float32(1e-8))
