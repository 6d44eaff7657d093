"""Distances between spike trains, and how far a student's are from the real ones, measured by how far those are from each other.

Victor and Purpura, "Nature and precision of temporal coding in visual cortex", J. Neurophysiol. 1996. van Rossum, "A novel spike
distance", Neural Comput. 2001. Times are in seconds.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats, not_negative, numbers
from engram_fidelity.metrics.per_cell import PerCell
from engram_format.errors import InvalidInput

Distance = Literal["victor_purpura", "van_rossum"]


def victor_purpura(first: ArrayLike, second: ArrayLike, cost_per_s: float) -> float:
    """Return the least cost of making one train of spike times into the other, (spike,) each, in any order.

    A spike put in or taken out costs 1, one moved by t seconds `cost_per_s` |t|; with 2 / tau, spikes further apart than tau
    are not moved. Zero cost leaves the difference in numbers.
    """
    return float(_edit_costs(_train(first), [_train(second)], _not_below_zero(cost_per_s, "a cost"))[0])


def van_rossum(first: ArrayLike, second: ArrayLike, tau_s: float) -> float:
    """Return D, D^2 = (1 / tau) integral of (f - g)^2, f and g being the trains smoothed by exp(-t / tau) after each spike.

    As in the paper: one spike more makes D^2 = 1/2. (Elephant has twice that.)
    """
    trains = [_train(side) for side in (first, second)]
    tau = _above_zero(tau_s)
    times = np.concatenate(trains)
    signs = np.concatenate([np.ones(len(trains[0])), -np.ones(len(trains[1]))])
    overlap = np.exp(-np.abs(times[:, None] - times[None]) / tau)
    return math.sqrt(max(0.0, 0.5 * float(signs @ overlap @ signs)))


def relative_distance(
    real: ArrayLike,
    other: ArrayLike,
    *,
    bin_s: float,
    metric: Distance = "victor_purpura",
    tau_s: float = 0.02,
) -> PerCell:
    """Return for each cell the mean distance of real from other trains, divided by that of two different real ones.

    Of answers (repeat, time, cell) to one stimulus in bins of `bin_s`, spikes taken at the middle of their bins. 1 is
    indistinguishable by this measure; below it, the other answers lie nearer to the middle than real ones do. `tau_s` is the
    precision: the time constant of van Rossum, and 2 / cost of Victor and Purpura. NaN for a single real repeat and a cell
    whose real trains are all alike.
    """
    answers = not_negative(real, "counts", "repeat", "time", "cell")
    others = not_negative(other, "other counts", "repeat", "time", "cell")
    if answers.shape[1:] != others.shape[1:]:
        raise InvalidInput(
            f"the answers have {answers.shape[1:]} and {others.shape[1:]} bins and cells: compare answers to one stimulus"
        )
    step = _above_zero(bin_s) / _above_zero(tau_s)
    if metric not in ("victor_purpura", "van_rossum"):
        raise InvalidInput(f"there is no distance {metric!r}: choose victor_purpura or van_rossum")
    between = _edits_between if metric == "victor_purpura" else _overlaps_between
    return PerCell.of(
        _relative(between(answers[..., cell], others[..., cell], step), len(answers))
        for cell in range(answers.shape[2])
    )


def _relative(distances: Floats, real: int) -> float:
    """Return the ratio of means from distances of each real train to every train, real ones first: (real, real + other)."""
    own = float(distances[:, :real].sum())
    pairs = real * (real - 1)
    return float(distances[:, real:].mean()) / (own / pairs) if own > 0 else np.nan


def _edits_between(answers: Floats, others: Floats, step: float) -> Floats:
    """Return Victor and Purpura's distance of each real train from every train, at cost 2 / tau; `step` is bin / tau."""
    bins = np.arange(answers.shape[1])
    trains: list[Floats] = [
        np.repeat(bins, np.rint(train).astype(np.int64)).astype(np.float64) * step
        for side in (answers, others)
        for train in side
    ]
    return np.array([_edit_costs(train, trains, 2.0) for train in trains[: len(answers)]])


def _overlaps_between(answers: Floats, others: Floats, step: float) -> Floats:
    """Return van Rossum's distance of each real train from every train; `step` is bin / tau."""
    both = np.concatenate([answers, others])
    decay = math.exp(-step)
    after = np.zeros_like(both)
    for time in range(1, both.shape[1]):
        after[:, time] = decay * (after[:, time - 1] + both[:, time - 1])
    overlap = answers @ (both + after).T + after[: len(answers)] @ both.T
    own = (both * (both + 2 * after)).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(0.0, 0.5 * (own[: len(answers), None] + own[None] - 2 * overlap))))


def _edit_costs(train: Floats, others: list[Floats], cost: float) -> Floats:
    """Return the cost of making `train` into each of `others`, all sorted: one row of the table at a time, for all together.

    The table's next row is the cheaper of taking the spike out and moving it; putting spikes in costs one a column, which makes
    the row a running minimum.
    """
    longest = max(len(other) for other in others)
    times = np.zeros((len(others), longest))
    for row, other in zip(times, others, strict=True):
        row[: len(other)] = other
    put_in = np.arange(longest + 1.0)
    row = np.tile(put_in, (len(others), 1))
    for spike in train:
        cheaper = row + 1
        np.minimum(cheaper[:, 1:], row[:, :-1] + cost * np.abs(times - spike), out=cheaper[:, 1:])
        row = np.minimum.accumulate(cheaper - put_in, axis=1) + put_in
    return np.asarray(row[np.arange(len(others)), [len(other) for other in others]])


def _train(times: ArrayLike) -> Floats:
    """Return the sorted times of a train, which may have none."""
    if not np.size(times):
        return np.zeros(0)
    return np.sort(numbers(times, "spike times", "spike"))


def _above_zero(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(f"a width of {value} s is none: give a positive one")
    return value


def _not_below_zero(value: float, name: str) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInput(f"{name} of {value} is none: give one from zero up")
    return value
