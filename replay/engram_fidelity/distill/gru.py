"""The tier `default`: a gated recurrent unit behind an input layer, learned in torch on random windows of the training trials.

A state without a fixed end is what a feed-forward student lacks. In each window the first 360 ms, in which the state forgets that
it began at rest, teach nothing. A student that shares a base is the same network, where all but the read-out and two deltas of low
rank are the base's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.distill.basis import Scale
from engram_fidelity.distill.budget import Budget, Pacer, Progress
from engram_fidelity.distill.calibrate import Affine, poisson_loss
from engram_fidelity.distill.fast import rate_of, resting
from engram_fidelity.distill.learning import Fitted, Recipe, Weights, learn
from engram_fidelity.distill.soft import spikes
from engram_fidelity.distill.target import Target
from engram_fidelity.experiment import Experiment
from engram_fidelity.extras import need
from engram_fidelity.graph import F32, FLOOR, Graph, GruWeights

UPDATES: Final = 1600
RECIPE: Final = Recipe(rate=4e-3, decay=1e-4, every=100, patience=8)
WINDOW_S: Final = 1.2
WARM_UP_S: Final = 0.36

_BATCH: Final = 32
_PIECE_S: Final = 3.0
"""Into pieces of so many seconds, each after a warm-up, trials are cut to be judged side by side."""

BASE: Final = ("inner", "inner_bias", "input", "recurrent", "input_bias", "recurrent_bias")
"""What a base gives to those who share it."""
_ROWS: Final = {"inner": 0, "input": 1, "recurrent": 1, "outer": 0}


@dataclass(frozen=True, slots=True, eq=False)
class Recurrent:
    """A recurrent student; weights by their names, gates in torch's order."""

    scale: Scale
    weights: Mapping[str, F32]
    """`inner` (channel, hidden), `inner_bias`, `input` and `recurrent` (3 x hidden, hidden), `input_bias`, `recurrent_bias`
    (3 x hidden,), `outer` (hidden, cell), `outer_bias`; with deltas also `channel_down` (channel, rank), `channel_up` (rank,
    hidden), `hidden_down` (hidden, rank) and `hidden_up` (rank, hidden)."""

    def to_onnx(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Write one bin as a graph."""
        weights = self.weights
        channels, hidden = weights["inner"].shape
        graph = Graph("student", doc="A recurrent student of a stimulus.")
        contrast = self.scale.add_to(
            graph, graph.take("stimulus", channels, doc="one bin, in the unit of the recording")
        )
        state = graph.take("state", hidden)
        drive = graph.dense("inner", contrast, weights["inner"], weights["inner_bias"])
        if "channel_down" in weights:
            drive = self._delta(graph, "channel", contrast, drive)
        seen = graph.silu("seen", drive)
        if "hidden_down" in weights:
            seen = self._delta(graph, "hidden", seen, seen)
        unit = GruWeights.from_torch(*(weights[name] for name in BASE[2:]))
        after = graph.gru("memory", seen, state, "state_out", unit)
        graph.dense("drive", after, weights["outer"], weights["outer_bias"])
        graph.add("Softplus", ["drive"], "count")
        rate = graph.add("Add", ["count", graph.hold("floor", FLOOR)], "rate")
        graph.give(rate, weights["outer"].shape[1], doc="expected count per bin")
        graph.give("state_out", hidden)
        return graph.finish(metadata)

    def _delta(self, graph: Graph, name: str, value: str, to: str) -> str:
        low = graph.add("MatMul", [value, graph.hold(f"{name}.down", self.weights[f"{name}_down"])], f"{name}.low")
        delta = graph.add("MatMul", [low, graph.hold(f"{name}.up", self.weights[f"{name}_up"])], f"{name}.delta")
        return graph.add("Add", [to, delta], f"{name}.changed")

    @property
    def parameters(self) -> int:
        """How many numbers were learned, those of a base among them."""
        return sum(one.size for one in self.weights.values())


def fit(
    training: Experiment,
    validation: Experiment,
    *,
    targets: Sequence[F32],
    target: Target,
    seed: int,
    budget: Budget,
    progress: Progress,
    base: Recurrent | None = None,
    rank: int = 0,
) -> Fitted[Recurrent]:
    """Fit a recurrent student to the targets of the training trials, (time, cell) each, and calibrate it.

    With a base, only a read-out of its own is learned and, with a rank, deltas. The number of torch's threads is 1 meanwhile, so
    that the same seed gives the same bytes on one machine. Raises `Precondition` where torch is not installed.
    """
    torch = need("torch", "distill")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fit(
            _Torch(torch),
            training,
            validation,
            targets=targets,
            target=target,
            seed=seed,
            budget=budget,
            progress=progress,
            base=base,
            rank=rank,
        )
    finally:
        torch.set_num_threads(threads)


def _fit(
    network: _Torch,
    training: Experiment,
    validation: Experiment,
    *,
    targets: Sequence[F32],
    target: Target,
    seed: int,
    budget: Budget,
    progress: Progress,
    base: Recurrent | None,
    rank: int,
) -> Fitted[Recurrent]:
    random = np.random.default_rng([seed, 0x6420])
    pacer = Pacer(budget)
    scale = Scale.of(training) if base is None else base.scale
    windows = Windows.of(training, scale, targets, bin_s=training.bin_s)
    judged = _Judged(validation, scale)
    cells = len(training.cells)
    counts = np.concatenate(list(targets))
    if base is None:
        weights = first_weights(random, channels=len(training.channels), hidden=target.gru, cells=cells)
    else:
        weights = _own_weights(random, base, cells=cells, rank=rank)
    weights["outer_bias"] = resting(counts)
    fixed = {} if base is None else {name: base.weights[name] for name in BASE}
    rows = {name: axis for name, axis in _ROWS.items() if name in weights}

    def held(now: Weights) -> dict[str, F32]:
        return {**fixed, **target.held(now, rows=rows)}

    def gradient(now: Weights) -> Weights:
        stimulus, wanted, counted = windows.drawn(random, _BATCH)
        return network.gradient(held(now), tuple(now), stimulus, wanted, counted)

    def validate(now: Weights) -> float:
        return poisson_loss(rate_of(judged.drives(network, held(now))), judged.counts)

    learned = learn(weights, gradient=gradient, validate=validate, pacer=pacer, recipe=RECIPE, progress=progress)
    best = held(learned.weights)
    drives = [network.drive(best, scale.apply(trials.stimulus)[:, np.newaxis])[:, 0] for trials in validation.trials]
    scored = min(round(WARM_UP_S / validation.bin_s), min(map(len, drives)) // 2)
    drives, counted = [drive[scored:] for drive in drives], [one[scored:] for one in spikes(validation)]
    calibration = Affine.fitted(drives, counted)
    loss = poisson_loss(np.concatenate([calibration.rate(drive) for drive in drives]), np.concatenate(counted))
    best["outer"], best["outer_bias"] = calibration.into(best["outer"], best["outer_bias"])
    return Fitted(Recurrent(scale, best), learned, loss, calibrated=not calibration.changes_nothing)


def first_weights(random: np.random.Generator, *, channels: int, hidden: int, cells: int) -> dict[str, F32]:
    """Draw weights to begin with, uniform within the inverse root of how many are added up; a read-out of a tenth of that."""

    def drawn(*shape: int, of: int, by: float = 1.0) -> F32:
        return np.asarray(by / np.sqrt(of) * random.uniform(-1.0, 1.0, shape), np.float32)

    return {
        "inner": drawn(channels, hidden, of=channels),
        "inner_bias": drawn(hidden, of=channels),
        "input": drawn(3 * hidden, hidden, of=hidden),
        "recurrent": drawn(3 * hidden, hidden, of=hidden),
        "input_bias": drawn(3 * hidden, of=hidden),
        "recurrent_bias": drawn(3 * hidden, of=hidden),
        "outer": drawn(hidden, cells, of=hidden, by=0.1),
        "outer_bias": np.zeros(cells, np.float32),
    }


def _own_weights(random: np.random.Generator, base: Recurrent, *, cells: int, rank: int) -> dict[str, F32]:
    """Begin what a student of a base has for itself: deltas begin at nothing."""
    channels, hidden = base.weights["inner"].shape
    weights = {
        "outer": (0.1 / np.sqrt(hidden) * random.uniform(-1.0, 1.0, (hidden, cells))).astype(np.float32),
        "outer_bias": np.zeros(cells, np.float32),
    }
    for name, width in (("channel", channels), ("hidden", hidden)) if rank else ():
        weights[f"{name}_down"] = (random.standard_normal((width, rank)) / np.sqrt(width)).astype(np.float32)
        weights[f"{name}_up"] = np.zeros((rank, hidden), np.float32)
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Training trials end to end, of which windows are drawn; trials shorter than a window are filled up, which teaches nothing."""

    contrast: F32
    """(bin, channel)."""
    targets: F32
    """(bin, cell)."""
    counts: F32
    """(bin,): 1 for a bin of a trial, 0 for one that fills up."""
    starts: NDArray[np.int64]
    """Bins at which a window may begin."""
    bins: int
    warm_up: int

    @classmethod
    def of(cls, experiment: Experiment, scale: Scale, targets: Sequence[F32], *, bin_s: float) -> Windows:
        """Lay the trials end to end."""
        bins = max(2, min(round(WINDOW_S / bin_s), max(trials.bins for trials in experiment.trials)))
        fills = [max(bins - trials.bins, 0) for trials in experiment.trials]
        lengths = [trials.bins + fill for trials, fill in zip(experiment.trials, fills, strict=True)]
        begins = np.cumsum([0, *lengths[:-1]])

        def laid(parts: Sequence[F32]) -> F32:
            filled = [np.pad(part, [(0, fill), (0, 0)]) for part, fill in zip(parts, fills, strict=True)]
            return np.concatenate(filled).astype(np.float32, copy=False)

        return cls(
            contrast=laid([scale.apply(trials.stimulus) for trials in experiment.trials]),
            targets=laid(targets),
            counts=laid([np.ones((trials.bins, 1), np.float32) for trials in experiment.trials])[:, 0],
            starts=np.concatenate(
                [np.arange(at, at + length - bins + 1) for at, length in zip(begins, lengths, strict=True)]
            ),
            bins=bins,
            warm_up=min(round(WARM_UP_S / bin_s), bins // 3),
        )

    def drawn(self, random: np.random.Generator, many: int) -> tuple[F32, F32, F32]:
        """Draw windows: contrast (time, window, channel), targets (time, window, cell), counts (time, window; 0 in the warm-up)."""
        bins = self.starts[random.integers(0, len(self.starts), many)] + np.arange(self.bins)[:, np.newaxis]
        counts = self.counts[bins]
        counts[: self.warm_up] = 0
        return self.contrast[bins], self.targets[bins], counts


class _Judged:
    """Validation trials in pieces of one length, side by side, since a recurrent network takes as long as its longest."""

    def __init__(self, validation: Experiment, scale: Scale) -> None:
        warm_up, bins = round(WARM_UP_S / validation.bin_s), max(1, round(_PIECE_S / validation.bin_s))
        pieces: list[F32] = []
        kept: list[tuple[int, int]] = []
        counts: list[F32] = []
        for trials, counted in zip(validation.trials, spikes(validation), strict=True):
            contrast = scale.apply(trials.stimulus)
            skipped = min(warm_up, trials.bins // 2)
            for start in range(skipped, trials.bins, bins):
                before, stop = max(start - warm_up, 0), min(start + bins, trials.bins)
                pieces.append(contrast[before:stop])
                kept.append((start - before, stop - before))
                counts.append(counted[start:stop])
        longest = max(map(len, pieces))
        self._stimulus: F32 = np.stack([np.pad(piece, [(0, longest - len(piece)), (0, 0)]) for piece in pieces], axis=1)
        self._kept = kept
        self.counts: F32 = np.concatenate(counts)
        """(bin, cell)."""

    def drives(self, network: _Torch, weights: Weights) -> F32:
        drive = network.drive(weights, self._stimulus)
        return np.concatenate([drive[start:stop, piece] for piece, (start, stop) in enumerate(self._kept)])


class _Torch:
    """The network in torch, whose tensors share their memory with numpy's arrays."""

    def __init__(self, torch: Any) -> None:  # noqa: ANN401 - a library that need not be installed has no types
        self._torch = torch

    def drive(self, weights: Weights, stimulus: F32) -> F32:
        """Return the drive (time, trial, cell) for contrast (time, trial, channel), each from a state of rest."""
        torch = self._torch
        with torch.no_grad():
            tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
            drive = self._forward(tensors, torch.from_numpy(np.ascontiguousarray(stimulus)))
        return np.asarray(drive.numpy(), np.float32)

    def gradient(self, weights: Weights, wanted: Sequence[str], stimulus: F32, targets: F32, counts: F32) -> Weights:
        """Return the gradient, with respect to the weights wanted, of the mean Poisson loss over counted bins, added over cells."""
        torch = self._torch
        tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
        for name in wanted:
            tensors[name].requires_grad_()
        warm_up = int(np.argmax(counts.any(axis=1)))
        drive = self._forward(tensors, torch.from_numpy(stimulus))[warm_up:]
        rate = torch.nn.functional.softplus(drive) + FLOOR
        losses = (rate - torch.from_numpy(targets[warm_up:]) * torch.log(rate)).sum(dim=2)
        mean = (losses * torch.from_numpy(counts[warm_up:])).sum() / max(float(counts.sum()), 1.0)
        gradients = torch.autograd.grad(mean, [tensors[name] for name in wanted])
        return {name: np.asarray(one.numpy(), np.float32) for name, one in zip(wanted, gradients, strict=True)}

    def _forward(self, tensors: Mapping[str, Any], stimulus: Any) -> Any:  # noqa: ANN401
        torch = self._torch
        drive = stimulus @ tensors["inner"] + tensors["inner_bias"]
        if "channel_down" in tensors:
            drive = drive + (stimulus @ tensors["channel_down"]) @ tensors["channel_up"]
        seen = torch.nn.functional.silu(drive)
        if "hidden_down" in tensors:
            seen = seen + (seen @ tensors["hidden_down"]) @ tensors["hidden_up"]
        rest = torch.zeros(1, stimulus.shape[1], tensors["recurrent"].shape[1])
        unit = [tensors[name] for name in BASE[2:]]
        states, _ = torch.gru(seen, rest, unit, True, 1, 0.0, False, False, False)  # noqa: FBT003 - torch has no names for them
        return states @ tensors["outer"] + tensors["outer_bias"]
