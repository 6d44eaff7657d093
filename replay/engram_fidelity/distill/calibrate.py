"""The last step of distilling: what a cell is expected to do is set right on trials that taught it nothing.

A student's drive, one number for each cell and bin, becomes a rate by `softplus(gain x drive + offset)`; gain and offset, which
vanish into the read-out's weights, are fitted by maximum likelihood of Poisson counts. A `Ramp` is more free: any rising line of
pieces, from isotonic regression. What is fitted is judged on the other half of the trials, and only kept where it helps there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.graph import F32, FLOOR, Graph

F64 = NDArray[np.float64]

_ROUNDS: Final = 30
_LEAST_GAIN: Final = 0.05


def softplus(drive: F64) -> F64:
    """Return log(1 + exp(drive))."""
    return np.logaddexp(0.0, drive)


def poisson_loss(expected: F64 | F32, counts: F64 | F32) -> float:
    """Return the mean over bins of `expected - counts log(expected)`, added over cells: (bin, cell) each."""
    rate = np.maximum(expected.astype(np.float64), FLOOR)
    return float((rate - counts * np.log(rate)).sum(axis=1).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A gain and an offset of each cell's drive."""

    gain: F32
    """(cell,)."""
    offset: F32
    """(cell,)."""

    @classmethod
    def none(cls, cells: int) -> Affine:
        """Return what changes nothing."""
        return cls(np.ones(cells, np.float32), np.zeros(cells, np.float32))

    @property
    def changes_nothing(self) -> bool:
        """Whether it is `none`."""
        return bool((self.gain == 1).all() and (self.offset == 0).all())

    def into(self, weights: F32, bias: F32) -> tuple[F32, F32]:
        """Return the weights (hidden, cell) and biases of a read-out whose drive is changed so."""
        return (weights * self.gain).astype(np.float32), (bias * self.gain + self.offset).astype(np.float32)

    def rate(self, drive: F32) -> F64:
        """Return the expected counts (bin, cell)."""
        return softplus(drive.astype(np.float64) * self.gain + self.offset) + FLOOR

    @classmethod
    def fitted(cls, drives: Sequence[F32], counts: Sequence[F32]) -> Affine:
        """Fit to trials, each (bin, cell); cells for which it does not help on trials it was not fitted to are left alone."""
        cells = drives[0].shape[1]
        gain, offset = np.ones(cells), np.zeros(cells)
        folds = _halves(drives, counts)
        for cell in range(cells):
            judged = [(drive[:, cell].astype(np.float64), count[:, cell].astype(np.float64)) for drive, count in folds]
            helped = 0.0
            for fit_to, judge_by in (judged, judged[::-1]):
                found = _fit_affine(*fit_to)
                helped += _loss(*judge_by, 1.0, 0.0) - _loss(*judge_by, *found)
            if helped > 0:
                gain[cell], offset[cell] = _fit_affine(*(np.concatenate(both) for both in zip(*judged, strict=True)))
        return cls(gain.astype(np.float32), offset.astype(np.float32))


def _loss(drive: F64, counts: F64, gain: float, offset: float) -> float:
    rate = softplus(gain * drive + offset) + FLOOR
    return float((rate - counts * np.log(rate)).mean())


def _fit_affine(drive: F64, counts: F64) -> tuple[float, float]:
    """Fit gain and offset of one cell by Fisher's scoring, halving steps that do not help."""
    gain, offset = 1.0, 0.0
    loss = _loss(drive, counts, gain, offset)
    design = np.stack([drive, np.ones_like(drive)])
    for _ in range(_ROUNDS):
        argument = gain * drive + offset
        rate = softplus(argument) + FLOOR
        slope = 1.0 / (1.0 + np.exp(-np.clip(argument, -60, 60)))
        by_argument = (1.0 - counts / rate) * slope
        information = (design * (slope**2 / rate)) @ design.T + 1e-9 * len(drive) * np.eye(2)
        step = np.linalg.solve(information, design @ by_argument)
        length = 1.0
        while length > 1e-3:
            to = max(gain - length * step[0], _LEAST_GAIN), offset - length * step[1]
            if (new := _loss(drive, counts, *to)) < loss:
                break
            length /= 2
        else:
            break
        done = loss - new < 1e-12
        (gain, offset), loss = to, new
        if done:
            break
    return gain, offset


def _halves(drives: Sequence[F32], counts: Sequence[F32]) -> list[tuple[F32, F32]]:
    """Divide trials in two, every other one; a single trial in the middle of its time."""
    if len(drives) == 1:
        half = len(drives[0]) // 2
        drives, counts = [drives[0][:half], drives[0][half:]], [counts[0][:half], counts[0][half:]]
    return [(np.concatenate(list(drives[first::2])), np.concatenate(list(counts[first::2]))) for first in (0, 1)]


@dataclass(frozen=True, slots=True, eq=False)
class Ramp:
    """For each cell a rising line of pieces from its drive to its expected count, level below the first knot."""

    knots: F32
    """(cell, knot), in units of the drive."""
    slopes: F32
    """(cell, knot): by how much the slope changes there."""
    base: F32
    """(cell,): the expected count below the first knot."""

    def rate(self, drive: F32) -> F64:
        """Return the expected counts (bin, cell)."""
        over = np.maximum(drive[:, :, np.newaxis].astype(np.float64) - self.knots, 0)
        return np.asarray(np.maximum((over * self.slopes).sum(axis=2) + self.base, FLOOR))

    def add_to(self, graph: Graph, drive: str, rate: str) -> str:
        """Add the same to a graph; return `rate`."""
        cells, knots = self.knots.shape
        spread = np.zeros((cells * knots, cells), np.float32)
        for cell in range(cells):
            spread[cell * knots : (cell + 1) * knots, cell] = self.slopes[cell]
        apart = graph.add("Unsqueeze", [drive, graph.whole("ramp.axis", 2)], "ramp.drive")
        over = graph.add("Sub", [apart, graph.hold("ramp.knots", self.knots)], "ramp.distance")
        over = graph.add("Relu", [over], "ramp.over")
        flat = graph.add("Reshape", [over, graph.whole("ramp.flat", 0, -1)], "ramp.pieces")
        graph.dense("ramp.sum", flat, spread, self.base)
        return graph.add("Max", ["ramp.sum", graph.hold("floor", FLOOR)], rate)

    @classmethod
    def fitted(cls, drive: F32, counts: F32, *, knots: int = 16) -> Ramp:
        """Fit to bins (bin, cell): the means of as many counts over equally full ranges of the drive, made to rise.

        Ranges are equally full of spikes and bins half and half, so that rare strong drives get knots of their own.
        """
        cells = [_fit_ramp(drive[:, cell], counts[:, cell], knots) for cell in range(drive.shape[1])]
        return cls(*(np.stack(parts).astype(np.float32) for parts in zip(*cells, strict=True)))


def _fit_ramp(drive: F32, counts: F32, knots: int) -> tuple[F64, F64, F64]:
    order = np.argsort(drive, kind="stable")
    x, y = drive[order].astype(np.float64), counts[order].astype(np.float64)
    weight = 1.0 / len(y) + y / max(float(y.sum()), 1.0)
    place = np.minimum((np.cumsum(weight) / weight.sum() * knots).astype(np.int64), knots - 1)
    held = np.bincount(place, minlength=knots)
    full = held > 0
    where = np.bincount(place, x, knots)[full] / held[full]
    level = _rising(np.bincount(place, y, knots)[full] / held[full], held[full].astype(np.float64))
    where, kept = np.unique(where, return_index=True)
    level = level[kept]
    slope = np.diff(level) / np.diff(where) if len(where) > 1 else np.zeros(0)
    slope = np.append(slope, slope[-1] if len(slope) else 0.0)  # beyond the last knot as before it
    change = np.diff(slope, prepend=0.0)
    missing = knots - len(where)
    return (
        np.append(where, np.full(missing, where[-1])),
        np.append(change, np.zeros(missing)),
        np.asarray(max(level[0], FLOOR)),
    )


def _rising(levels: F64, weights: F64) -> F64:
    """Return the rising sequence nearest to `levels` (pooling adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for level, weight in zip(levels, weights, strict=True):
        block = (float(level), float(weight), 1)
        while blocks and blocks[-1][0] >= block[0]:
            before = blocks.pop()
            total = before[1] + block[1]
            block = ((before[0] * before[1] + block[0] * block[1]) / total, total, before[2] + block[2])
        blocks.append(block)
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])
