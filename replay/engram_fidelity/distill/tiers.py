"""Distilling: an experiment in, a student out, by the tier's recipe; what was made says how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from engram_fidelity.digest import experiment_sha256
from engram_fidelity.distill.budget import Budget, Progress, no_progress
from engram_fidelity.distill.outcome import Distilled, as_text, rate_contract
from engram_fidelity.distill.split import Split, split
from engram_fidelity.distill.target import Target, target_named
from engram_fidelity.experiment import Experiment
from engram_fidelity.extras import need
from engram_fidelity.one_thread import on_one_thread
from engram_fidelity.responder import RateResponder
from engram_format.catalog import Scalar
from engram_format.errors import InvalidInput

TIERS: Final = ("linear", "fast", "default", "spiking")
_FINER: Final = {"spiking": 3}
"""Tiers that learn from finer bins than they step by, and by how much."""


def taught_in_bins(tier: str, bin_s: float) -> float:
    """Return the width of the experiment's bins from which a tier makes a student that steps by `bin_s` seconds."""
    return bin_s / _FINER.get(tier, 1)


@on_one_thread
def distill(
    experiment: Experiment,
    *,
    tier: str = "default",
    seed: int = 0,
    updates: int | None = None,
    budget_s: float | None = None,
    target: str | None = None,
    soft: bool = False,
    teacher: RateResponder | None = None,
    base: bytes | None = None,
    rank: int | None = None,
    progress: Progress = no_progress,
) -> Distilled:
    """Make a student of an experiment; the same seed and number of updates give the same bytes on one machine.

    A tier makes its own number of updates; `budget_s` seconds cut that to what fits, and `updates` asks for exactly so many.
    `soft` and `teacher` say what is taught (`soft.targets`), `target` names the hardware (`target.TARGETS`). With `base`, the
    network of a student of the tier `default`, only a read-out and deltas of a `rank` (`share.RANK`; 0 for none) are learned.
    `Split` says which trials are for what; held-out ones are never looked at.

    Raises `InvalidInput` for an experiment without spikes or with a stimulus that never changes, and for a tier, target or base
    that does not fit; `Precondition` where a library is not installed.
    """
    wanted = _wanted(tier, target=target, soft=soft, teacher=teacher, base=base, rank=rank)
    need("onnx", "certify")
    parts = split(experiment, seed)
    check_can_teach(parts.training)
    budget_of = _Budgeted(updates=updates, seconds=budget_s)
    if tier == "spiking":
        return _spiking(parts, experiment, seed=seed, budget_of=budget_of, progress=progress)
    from engram_fidelity.distill import fast, gru, linear, share
    from engram_fidelity.distill.soft import targets

    taught = targets(parts.training, soft=soft, teacher=teacher, seed=seed)
    given: dict[str, Any] = {"targets": taught, "target": wanted, "seed": seed, "progress": progress}
    also: dict[str, Scalar] = {}
    made: _Made
    if tier == "linear":
        lines = linear.fit(parts.training, parts.validation, budget=budget_of(linear.UPDATES), **given)
        made = _Made(lines.model, lines.learned.updates, lines.learned.best_at, lines.loss, calibrated=lines.calibrated)
        also["distill.filter"] = lines.model.by
    elif tier == "fast":
        layers = fast.fit(parts.training, parts.validation, budget=budget_of(fast.UPDATES), **given)
        made = _Made(
            layers.model, layers.learned.updates, layers.learned.best_at, layers.loss, calibrated=layers.calibrated
        )
    else:
        torch = need("torch", "distill")
        shared = None if base is None else share.read_base(base)
        if shared is not None:
            share.check_base(shared, experiment)
            given |= {"base": shared, "rank": share.RANK if rank is None else rank}
            also["distill.rank"] = int(given["rank"])
        unit = gru.fit(parts.training, parts.validation, budget=budget_of(gru.UPDATES), **given)
        made = _Made(unit.model, unit.learned.updates, unit.learned.best_at, unit.loss, calibrated=unit.calibrated)
        also["distill.torch"] = str(torch.__version__)
    metadata = {
        **_said(parts, experiment, tier=tier, seed=seed, target=wanted),
        "distill.updates": made.updates,
        "distill.best_at": made.best_at,
        "distill.loss.validation": made.loss,
        "distill.parameters": made.model.parameters,
        "distill.calibrated": made.calibrated,
        "distill.soft": soft or teacher is not None,
        **({} if budget_s is None else {"distill.budget_s": float(budget_s)}),
        **also,
    }
    inside = {"distill.tier": tier, "distill.bin_s": repr(experiment.bin_s), "engram.state.state": "state_out"}
    return Distilled(made.model.to_onnx(inside), rate_contract(experiment), metadata)


class _Model(Protocol):
    @property
    def parameters(self) -> int: ...

    def to_onnx(self, metadata: Mapping[str, str] | None = None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Made:
    model: _Model
    updates: int
    best_at: int
    loss: float
    calibrated: bool


@dataclass(frozen=True, slots=True)
class _Budgeted:
    updates: int | None
    seconds: float | None

    def __call__(self, default: int) -> Budget:
        return Budget.of(default, updates=self.updates, seconds=self.seconds)


def _wanted(
    tier: str,
    *,
    target: str | None,
    soft: bool,
    teacher: RateResponder | None,
    base: bytes | None,
    rank: int | None,
) -> Target:
    """Check what was asked for before anything is computed."""
    if tier not in TIERS:
        raise InvalidInput(f"there is no tier {tier[:80]!r}: choose one of {', '.join(TIERS)}")
    if base is not None and tier != "default":
        raise InvalidInput(f"students of the tier {tier} share no base: choose the tier default")
    if base is not None and target == "batch":
        raise InvalidInput("a student is as wide as the base that it shares: leave the target batch away")
    if rank is not None and (base is None or not 0 <= rank <= 64):
        raise InvalidInput(f"a rank of {rank} is none: deltas of rank 0 to 64 are for students that share a base")
    if tier == "spiking" and (soft or teacher is not None or target is not None):
        raise InvalidInput(
            "the tier spiking learns from spikes for one kind of hardware: leave soft targets and the target away"
        )
    return target_named(target)


def check_can_teach(training: Experiment) -> None:
    """Raise `InvalidInput` where there is nothing to learn: no spikes, or a stimulus that never changes."""
    if not any(trials.counts.any() for trials in training.trials):
        raise InvalidInput("no cell fired in the trials that are to teach: bring a recording with spikes")
    first = training.trials[0].stimulus[0]
    if all((trials.stimulus == first).all() for trials in training.trials):
        raise InvalidInput("the stimulus never changes in the trials that are to teach: bring one that does")


def _said(parts: Split, experiment: Experiment, *, tier: str, seed: int, target: Target) -> dict[str, Scalar]:
    def ids(part: Experiment | None) -> str:
        return as_text([] if part is None else _ids(part))

    onnx = need("onnx", "certify")
    return {
        "distill.tier": tier,
        "distill.seed": seed,
        "distill.bin_s": experiment.bin_s,
        "distill.training": ids(parts.training),
        "distill.validation": ids(parts.validation),
        "distill.held_out": ids(parts.held_out),
        "distill.target": target.name,
        **({} if target.levels is None else {"distill.levels": target.levels}),
        "distill.numpy": np.__version__,
        "distill.onnx": str(onnx.__version__),
        "distill.experiment_sha256": experiment_sha256(experiment),
    }


def _ids(part: Experiment) -> Sequence[str]:
    return [trials.stimulus_id for trials in part.trials]


def _spiking(parts: Split, experiment: Experiment, *, seed: int, budget_of: _Budgeted, progress: Progress) -> Distilled:
    """Hand over to the tier with a history of its own, and complete what it says."""
    spiking = need("engram_fidelity.distill.spiking", "distill")
    made: Distilled = spiking.fit_spiking(
        parts, seed=seed, updates=budget_of.updates, budget_s=budget_of.seconds, progress=progress
    )
    said = _said(parts, experiment, tier="spiking", seed=seed, target=target_named(None))
    return Distilled(made.network, made.contract, {**said, **made.metadata})
