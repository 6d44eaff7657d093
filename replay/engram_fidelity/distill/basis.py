"""What a feed-forward student remembers of its stimulus: some hundred milliseconds, finely near and coarsely far.

Each channel's past is summed under bumps that are raised cosines of the logarithm of the lag (Pillow et al., Nature 2008). All
features of a recording together would be ten times its size, so they are built for some bins at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.distill.soft import spikes
from engram_fidelity.experiment import Experiment
from engram_fidelity.graph import F32, Graph

MEMORY_S: Final = 0.6
BUMPS: Final = 12
SOME: Final = 50_000
"""Bins whose features may be held together: about 75 MB of 31 channels."""
_AT_ONCE: Final = 4096
_FEW: Final = 10_000
_BEND_S: Final = 0.02
"""The lag around which the axis of lags turns from even to logarithmic, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """What makes each channel of a stimulus zero on average, of unit spread."""

    mean: F32
    """(channel,)."""
    factor: F32
    """(channel,); 0 for a channel that never changes."""

    @classmethod
    def of(cls, experiment: Experiment) -> Scale:
        """Measure the channels over all trials."""
        bins = sum(trials.bins for trials in experiment.trials)
        sums = [trials.stimulus.sum(axis=0, dtype=np.float64) for trials in experiment.trials]
        mean = np.sum(sums, axis=0) / bins
        powers = [np.square(trials.stimulus - mean).sum(axis=0, dtype=np.float64) for trials in experiment.trials]
        spread = np.sqrt(np.sum(powers, axis=0) / bins)
        changing = spread > 1e-6 * np.maximum(np.abs(mean), 1e-30)
        factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=changing)
        return cls(mean.astype(np.float32), factor.astype(np.float32))

    @property
    def is_constant(self) -> bool:
        """Whether no channel ever changes."""
        return not self.factor.any()

    def apply(self, stimulus: F32) -> F32:
        """Return (time, channel) as contrast."""
        return np.asarray((stimulus - self.mean) * self.factor)

    def add_to(self, graph: Graph, stimulus: str) -> str:
        """Add the same to a graph, under `contrast`."""
        centred = graph.add("Sub", [stimulus, graph.hold("scale.mean", self.mean)], "centred")
        return graph.add("Mul", [centred, graph.hold("scale.factor", self.factor)], "contrast")


def raised_cosines(bins: int, bumps: int, *, bend: float) -> F32:
    """Return (lag, bump): bumps of unit length over `bins` lags, that of the present first, evenly spaced in log(lag + bend)."""
    along = np.log(np.arange(bins) + bend)
    centres = np.linspace(along[0], along[-1], bumps)
    apart = (centres[1] - centres[0]) if bumps > 1 else max(along[-1] - along[0], 1.0)
    phase = np.clip((along[:, np.newaxis] - centres) * np.pi / (2 * apart), -np.pi, np.pi)
    shapes = 0.5 * (1 + np.cos(phase))
    return np.asarray(shapes / np.linalg.norm(shapes, axis=0), np.float32)


class Past:
    """The remembered past of every bin of an experiment: (bin, channel x bump), built when asked for."""

    def __init__(self, experiment: Experiment, scale: Scale, *, targets: Sequence[F32] | None = None) -> None:
        """Take the trials, and what is to be expected in them, (time, cell) each; by default the spikes, averaged over repeats."""
        self.bins = max(1, round(MEMORY_S / experiment.bin_s))
        self.basis = raised_cosines(self.bins, min(BUMPS, self.bins), bend=max(_BEND_S / experiment.bin_s, 0.5))
        self._reversed = np.ascontiguousarray(self.basis[::-1])
        rest = np.zeros((self.bins - 1, len(experiment.channels)), np.float32)
        self._contrast = np.concatenate(
            [part for trials in experiment.trials for part in (rest, scale.apply(trials.stimulus))]
        )
        self.counts: F32 = np.concatenate(list(targets if targets is not None else spikes(experiment)))
        """(bin, cell)."""
        self._ends = np.cumsum([trials.bins for trials in experiment.trials])
        pads = np.repeat(
            np.arange(len(experiment.trials)) * (self.bins - 1), [trials.bins for trials in experiment.trials]
        )
        self._starts: NDArray[np.int64] = np.arange(len(self.counts)) + pads

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def features(self) -> int:
        """How many features a bin has."""
        return int(self._contrast.shape[1] * self.basis.shape[1])

    def of(self, bins: NDArray[np.int64]) -> F32:
        """Return the features of some bins, by their places: (bin, channel x bump)."""
        view = np.lib.stride_tricks.sliding_window_view(self._contrast, self.bins, axis=0)
        return (view[self._starts[bins]] @ self._reversed).reshape(len(bins), -1)

    def blocks(self, chosen: NDArray[np.int64] | None = None) -> Iterator[tuple[F32, F32]]:
        """Yield features and spikes of all bins, or those chosen by their places, some thousand bins at a time."""
        places = np.arange(len(self)) if chosen is None else chosen
        for start in range(0, len(places), _AT_ONCE):
            bins = places[start : start + _AT_ONCE]
            yield self.of(bins), self.counts[bins]

    def some(self, most: int = SOME) -> NDArray[np.int64]:
        """Choose evenly spaced bins, by their places: all where there are at most `most`, and never more."""
        return np.arange(0, len(self), -(-len(self) // most))

    def by_trial(self, chosen: NDArray[np.int64], values: F32) -> list[F32]:
        """Divide values of chosen bins, (bin, ...), by the trials that these lie in, leaving out trials without any."""
        parts = np.split(values, np.searchsorted(chosen, self._ends[:-1]))
        return [part for part in parts if len(part)]


def add_past(graph: Graph, contrast: str, basis: F32, spread: F32, channels: int) -> str:
    """Add the memory to a graph: a state of the last bins' contrast, oldest first; return the features of the present bin."""
    bins = len(basis)
    axis = graph.whole("past.axis", 1)
    state = graph.take("state", bins - 1, channels, doc="contrast of the bins before, the oldest first")
    now = graph.add("Unsqueeze", [contrast, axis], "past.now")
    past = graph.add("Concat", [state, now], "past", axis=1)
    first, last = graph.whole("past.first", 1), graph.whole("past.last", bins)
    graph.add("Slice", [past, first, last, axis], "state_out")
    by_channel = graph.add("Transpose", [past], "past.by_channel", perm=[0, 2, 1])
    summed = graph.add(
        "MatMul", [by_channel, graph.hold("past.basis", np.ascontiguousarray(basis[::-1]))], "past.summed"
    )
    flat = graph.add("Reshape", [summed, graph.whole("past.flat", 0, -1)], "past.features")
    return graph.add("Mul", [flat, graph.hold("past.spread", spread)], "features")


def spread_of(past: Past) -> F32:
    """Return what brings each feature to unit spread, measured on some of the bins: (channel x bump,)."""
    powers, bins = np.zeros(past.features), 0
    for features, _ in past.blocks(past.some(_FEW)):
        powers += np.square(features).sum(axis=0, dtype=np.float64)
        bins += len(features)
    spread = np.sqrt(powers / bins)
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0).astype(np.float32)
