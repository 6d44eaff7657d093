"""Learning to fire: the likelihood of every spike, given the stimulus and the cell's own past, made greater by gradients in torch.

What is kept is a running average of the weights, judged on the validation trials. Hidden units are dropped at random, and each
training trial has offsets of its own, held near zero, so that slow drift of the donor is not taken for noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.distill.budget import Pacer, Progress
from engram_fidelity.distill.renewal import CEILING, KNOTS, PIVOT, REMEMBERED, SPAN, Spiking, hats
from engram_fidelity.distill.spiking_material import Material
from engram_fidelity.graph import F32, GruWeights
from engram_format.errors import InvalidInput

_HIDDEN: Final = 64
_INNER: Final = 64
_BATCH: Final = 64
_WINDOW_S: Final = 1.2
_WARM_S: Final = 0.3
"""The beginning of a window, in which the network comes to know the stimulus and is not judged."""
_RATE: Final = 3e-3
_RATE_OF_OWN: Final = 3.0
"""How much longer steps of tables and of trials' offsets are."""
_DECAY: Final = 1e-2
_DROPPED: Final = 0.1
_AVERAGING: Final = 0.995
_EVERY: Final = 100
"""Updates from one validation to the next."""
_OFFSETS_HELD: Final = 2e-4
"""The weight of the square of trials' offsets in the loss."""
_SIFT_AT: Final = 0.25
"""The share of all updates after which trials are sifted."""
_SIFT_BY: Final = 3.0
"""Robust standard deviations below the median at which a trial is left out."""
_LEFT_OUT_AT_MOST: Final = 0.25

Tensors = dict[str, Any]
"""Torch tensors by name."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of windows, in bins."""

    window: int
    warm: int

    @classmethod
    def of(cls, bin_s: float) -> Shape:
        """Return the sizes for bins of `bin_s`."""
        return cls(window=max(8, round(_WINDOW_S / bin_s)), warm=max(1, round(_WARM_S / bin_s)))


class Learner:
    """Weights in the making."""

    def __init__(self, torch: Any, training: Material, validation: Material, shape: Shape, *, seed: int) -> None:  # noqa: ANN401
        self._torch = torch
        self._training = training
        self._validation = validation
        self._shape = shape
        self._random = np.random.default_rng([seed, 0x5B1C])
        self._drops = torch.Generator().manual_seed(int(self._random.integers(2**31)))
        self._hats = torch.from_numpy(hats(np.arange(SPAN + 1)))
        shown = training.stimulus[training.there > 0]
        self._mean = shown.mean(axis=0)
        self._spread = np.maximum(shown.std(axis=0), 1e-6).astype(np.float32)
        self._spread[shown.std(axis=0) < 1e-6] = 1.0
        self._sub_steps, self._cells = training.fired.shape[1:]
        self._cell_at = torch.arange(self._cells) * (SPAN + 1)
        self._made = self._first()
        self._average = {name: tensor.detach().clone() for name, tensor in self._made.items()}
        self._offsets = torch.zeros(len(training.starts), self._cells, requires_grad=True)
        self.trusted: NDArray[np.float64] = np.ones(len(training.starts))
        self.trusted_validation: NDArray[np.float64] = np.ones(len(validation.starts))

    def _first(self) -> Tensors:
        """Draw the first weights; names as in `Spiking`, gates in torch's order."""
        torch, hidden = self._torch, _HIDDEN
        channels = self._training.stimulus.shape[1]
        outputs = self._sub_steps * self._cells

        def even(*shape: int, of: int, by: float = 1.0) -> F32:
            return (by / math.sqrt(of) * self._random.uniform(-1, 1, shape)).astype(np.float32)

        trained = self._training.there > 0
        resting = np.log(self._training.fired[trained].mean(axis=(0, 1)))
        first = {
            "entry": even(channels, hidden, of=channels),
            "entry_bias": even(hidden, of=channels),
            "input": even(3 * hidden, hidden, of=hidden),
            "recurrent": even(3 * hidden, hidden, of=hidden),
            "input_bias": even(3 * hidden, of=hidden),
            "recurrent_bias": even(3 * hidden, of=hidden),
            "inner": even(hidden, _INNER, of=hidden),
            "inner_bias": np.zeros(_INNER, np.float32),
            "outer": even(hidden + _INNER, outputs, of=hidden, by=0.1),
            "outer_bias": np.tile(resting, self._sub_steps).astype(np.float32),
            "tables": np.zeros((self._cells, REMEMBERED, len(KNOTS)), np.float32),
            "gain": np.zeros((self._cells, len(KNOTS)), np.float32),
        }
        return {name: torch.from_numpy(array).requires_grad_() for name, array in first.items()}

    def learn(self, pacer: Pacer, progress: Progress) -> float:
        """Make updates until the pacer is done; return the validation loss of the best average, which is kept."""
        torch = self._torch
        own = ("tables", "gain")
        groups = [
            {
                "params": [one for name, one in self._made.items() if name not in own and one.ndim > 1],
                "weight_decay": _DECAY,
            },
            {"params": [one for name, one in self._made.items() if name not in own and one.ndim == 1]},
            {"params": [*(self._made[name] for name in own), self._offsets]},
        ]
        optimizer = torch.optim.AdamW(groups, _RATE, betas=(0.9, 0.99), weight_decay=0.0)
        learned = list(self._made.values())
        best, best_loss, sifted = self._average, math.inf, False
        while not pacer.done:
            for group, longer in zip(optimizer.param_groups, (1.0, 1.0, _RATE_OF_OWN), strict=True):
                group["lr"] = _RATE * longer * pacer.step()
            loss = self._loss_of_some()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            pacer.count()
            kept = min(_AVERAGING, pacer.made / (pacer.made + 9.0))
            with torch.no_grad():
                for name, tensor in self._made.items():
                    self._average[name].lerp_(tensor.detach(), 1 - kept)
            if not sifted and pacer.total and pacer.made >= _SIFT_AT * pacer.total:
                self._sift()
                sifted, best_loss = True, math.inf
            if pacer.made % _EVERY and not pacer.done:
                continue
            judged = self._validated()
            if judged < best_loss:
                best, best_loss = {name: one.clone() for name, one in self._average.items()}, judged
            progress(pacer.made, pacer.total, best_loss)
        if not math.isfinite(best_loss):
            raise InvalidInput(
                "the training did not come to a loss that is a number: look at the stimulus for values far off"
            )
        self._average = best
        return best_loss

    def _loss_of_some(self) -> Any:  # noqa: ANN401
        """Return the loss on windows drawn at random, trials by their lengths."""
        torch, material, shape = self._torch, self._training, self._shape
        lengths = np.array(material.lengths) * self.trusted
        trials = self._random.choice(len(lengths), _BATCH, p=lengths / lengths.sum())
        firsts = [
            material.starts[trial] + int(self._random.integers(material.lengths[trial] - shape.window + 1))
            for trial in trials
        ]
        drive = self._drive(self._made, material, firsts, dropped=_DROPPED)
        drive = drive + self._offsets[torch.from_numpy(trials)][:, None, None]
        loss, weight = self._losses(self._made, drive, material, firsts)
        return (loss * weight[..., None, None]).sum() / (weight.sum() * self._sub_steps * self._cells) + (
            _OFFSETS_HELD * self._offsets.square().mean()
        )

    def _drive(self, weights: Tensors, material: Material, firsts: Sequence[int], *, dropped: float = 0.0) -> Any:  # noqa: ANN401
        """Return the drive of windows: (window, judged bin, sub-step, cell)."""
        torch, shape = self._torch, self._shape
        shown = np.stack([material.stimulus[first : first + shape.window] for first in firsts])
        given = torch.from_numpy((shown - self._mean) / self._spread)
        taken = torch.nn.functional.silu(given @ weights["entry"] + weights["entry_bias"])
        gates = [weights[name] for name in ("input", "recurrent", "input_bias", "recurrent_bias")]
        rest = torch.zeros(1, len(firsts), gates[1].shape[1])
        hidden, _ = torch.gru(taken, rest, gates, True, 1, 0.0, False, False, True)  # noqa: FBT003 - torch knows no keywords here
        hidden = hidden[:, shape.warm :]
        if dropped:
            hidden = hidden * (torch.rand(hidden.shape, generator=self._drops) >= dropped) / (1 - dropped)
        inner = torch.nn.functional.silu(hidden @ weights["inner"] + weights["inner_bias"])
        drive = torch.cat([hidden, inner], -1) @ weights["outer"] + weights["outer_bias"]
        return drive.reshape(*drive.shape[:2], self._sub_steps, self._cells)

    def _losses(self, weights: Tensors, drive: Any, material: Material, firsts: Sequence[int]) -> tuple[Any, Any]:  # noqa: ANN401
        """Return the negative log likelihood (window, bin, sub-step, cell) and the weights (window, bin)."""
        torch, shape = self._torch, self._shape
        judged = [slice(first + shape.warm, first + shape.window) for first in firsts]
        ages = torch.from_numpy(np.stack([material.ages[one] for one in judged]).astype(np.int64))
        fired = torch.from_numpy(np.stack([material.fired[one] for one in judged]).astype(np.float32))
        there = torch.from_numpy(np.stack([material.there[one] for one in judged]))
        gain = (weights["gain"] @ self._hats.T).reshape(-1)
        log_hazard = (drive + PIVOT) * (1 + gain[ages[..., 0] + self._cell_at]) - PIVOT
        for back in range(REMEMBERED):
            table = (weights["tables"][:, back] @ self._hats.T).reshape(-1)
            log_hazard = log_hazard + table[ages[..., back] + self._cell_at]
        hazard = (CEILING - torch.nn.functional.softplus(CEILING - log_hazard)).exp()
        return hazard * (1 - fired) - fired * torch.log(-torch.expm1(-hazard) + 1e-12), there

    def _by_trial(self, material: Material) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return of each trial the loss of the average weights, summed, and the spikes that were judged."""
        torch, shape = self._torch, self._shape
        losses, spikes = np.zeros(len(material.starts)), np.zeros(len(material.starts))
        windows = material.windows(shape.window, shape.warm)
        with torch.no_grad():
            for at in range(0, len(windows), _BATCH):
                trials, firsts = zip(*windows[at : at + _BATCH], strict=True)
                drive = self._drive(self._average, material, firsts)
                loss, there = self._losses(self._average, drive, material, firsts)
                np.add.at(losses, list(trials), (loss.sum((2, 3)) * there).sum(1).double().numpy())
                for trial, first in zip(trials, firsts, strict=True):
                    spikes[trial] += material.fired[first + shape.warm : first + shape.window].sum()
        return losses, spikes

    def _validated(self) -> float:
        losses, _ = self._by_trial(self._validation)
        judged = np.zeros(len(losses))
        for trial, first in self._validation.windows(self._shape.window, self._shape.warm):
            judged[trial] += self._validation.there[first + self._shape.warm : first + self._shape.window].sum()
        use = self.trusted_validation > 0
        return float(losses[use].sum() / max(judged[use].sum() * self._sub_steps * self._cells, 1))

    def _sift(self) -> None:
        """Leave out trials whose spikes are much less likely than others', each compared with a constant rate of its own."""
        scores = [self._score(material) for material in (self._training, self._validation)]
        middle = np.median(scores[0])
        spread = 1.4826 * np.median(np.abs(scores[0] - middle))
        least = min(middle - _SIFT_BY * spread, np.quantile(scores[0], _LEFT_OUT_AT_MOST))
        least = min(least, scores[1].max())
        self.trusted = (scores[0] >= least).astype(np.float64)
        self.trusted_validation = (scores[1] >= least).astype(np.float64)

    def _score(self, material: Material) -> NDArray[np.float64]:
        """Return of each trial what is known of each spike, in nats, beyond the trial's mean rate."""
        losses, spikes = self._by_trial(material)
        counted = np.zeros((len(losses), self._cells))
        bins = np.zeros(len(losses))
        for trial, first in material.windows(self._shape.window, self._shape.warm):
            judged = slice(first + self._shape.warm, first + self._shape.window)
            counted[trial] += material.fired[judged].sum(axis=(0, 1))
            bins[trial] += material.there[judged].sum() * self._sub_steps
        mean = np.maximum(counted / np.maximum(bins, 1)[:, None], 1e-9)
        null = -(counted * (np.log(mean) - 1)).sum(axis=1)
        return np.asarray((null - losses) / np.maximum(spikes, 1), np.float64)

    def weights(self) -> Spiking:
        """Return the kept weights, for a stimulus in its own unit."""
        made: Mapping[str, F32] = {name: np.array(tensor.numpy()) for name, tensor in self._average.items()}
        entry = made["entry"] / self._spread[:, np.newaxis]
        gates = (made[name] for name in ("input", "recurrent", "input_bias", "recurrent_bias"))
        return Spiking(
            entry=entry,
            entry_bias=np.asarray(made["entry_bias"] - self._mean @ entry, np.float32),
            recurrent=GruWeights.from_torch(*gates),
            inner=made["inner"],
            inner_bias=made["inner_bias"],
            outer=made["outer"],
            outer_bias=made["outer_bias"],
            tables=made["tables"],
            gain=made["gain"],
            loadings=np.zeros((0, self._cells), np.float32),
            kept=0.0,
            sub_steps=self._sub_steps,
        )
