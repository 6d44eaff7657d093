"""The tier `spiking`: a recurrent network drives cells that draw their own spikes and remember them (`renewal`).

Learned is the likelihood of every spike given the stimulus and the cell's own past, at a resolution of several sub-steps a bin.
Three things make what runs freely alike, where likelihood alone does not:

- trials in which the donor did not answer as in the others (it settles, it drifts) are left out, by their own likelihood; each
  other trial may have offsets of its own while it teaches, so that drift is not taken for noise;
- what cells share beyond the stimulus, seen in the residuals of the training trials at short lags, becomes shared noise;
- rates of free runs on training stimuli are set right, cell by cell.

Repeats are never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engram_fidelity.distill.budget import Budget, Pacer, Progress, no_progress
from engram_fidelity.distill.outcome import Distilled, as_text, rate_contract
from engram_fidelity.distill.renewal import Spiking
from engram_fidelity.distill.spiking_freely import calibrated, with_latents
from engram_fidelity.distill.spiking_graph import STATES, spiking_graph
from engram_fidelity.distill.spiking_learning import Learner, Shape
from engram_fidelity.distill.spiking_material import Material
from engram_fidelity.distill.split import Split
from engram_fidelity.experiment import Experiment
from engram_fidelity.extras import need
from engram_format.catalog import Scalar
from engram_format.errors import InvalidInput

UPDATES: Final = 1500
"""Updates by default."""
TOGETHER: Final = 3
"""Bins of the experiment that are sub-steps of one bin of the student, by default."""
_LEAST_S: Final = 2.0
"""The least time of training trials."""


def fit_spiking(
    split: Split,
    *,
    seed: int = 0,
    updates: int | None = None,
    budget_s: float | None = None,
    together: int = TOGETHER,
    progress: Progress = no_progress,
) -> Distilled:
    """Distil a student that draws its own spikes from an experiment whose bins are the sub-steps of the student's.

    The student's bin is `together` of the experiment's, in which its stimulus is averaged; an experiment in bins of 1/600 s makes
    a student that steps by 5 ms. More than one spike in a bin of the experiment counts as one. The same seed and number of updates
    give the same student on one machine; a budget in seconds decides the number by the pace of the first. Raises `InvalidInput`
    for a budget that is none, trials too short to learn from, and cells that never fire; `Precondition` without torch.
    """
    return deposited(
        train_spiking(split, seed=seed, updates=updates, budget_s=budget_s, together=together, progress=progress)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What training came to, before it is written as a network."""

    weights: Spiking
    loss: float
    """On the validation trials: the mean over sub-steps of the negative log likelihood of cells' spikes given their past."""
    updates: int
    left_out: tuple[str, ...]
    """Trials in which the donor did not answer as in the others."""
    split: Split
    seed: int


def deposited(trained: Trained) -> Distilled:
    """Return a trained student as it is deposited."""
    weights, split = trained.weights, trained.split
    bins = split.training.bin_s * weights.sub_steps
    metadata: dict[str, Scalar] = {
        "distill.tier": "spiking",
        "distill.seed": trained.seed,
        "distill.updates": trained.updates,
        "distill.bin_s": bins,
        "distill.sub_steps": weights.sub_steps,
        "distill.training": as_text(trials.stimulus_id for trials in split.training.trials),
        "distill.validation": as_text(trials.stimulus_id for trials in split.validation.trials),
        "distill.held_out": as_text(trials.stimulus_id for trials in (split.held_out.trials if split.held_out else ())),
        "distill.left_out": as_text(trained.left_out),
        "distill.loss.validation": trained.loss,
        "distill.parameters": weights.parameters,
        "distill.torch": str(need("torch", "distill").__version__),
    }
    return Distilled(spiking_graph(weights), contract_of(weights, split.training), metadata)


def contract_of(weights: Spiking, experiment: Experiment) -> dict[str, object]:
    """Return the contract of a spiking student of an experiment in its sub-steps."""
    states = STATES if weights.latents else STATES[:-1]
    plain = rate_contract(experiment, states=states)
    inputs, outputs = plain["inputs"], plain["outputs"]
    assert isinstance(inputs, dict)  # noqa: S101 - says it to the type checker
    assert isinstance(outputs, dict)  # noqa: S101
    rate = {key: value for key, value in outputs["rate"].items() if key != "distribution"}
    return {
        "sampling_interval_s": experiment.bin_s * weights.sub_steps,
        "inputs": {**inputs, "noise": {"role": "noise", "minds_axis": 0}},
        "outputs": {"rate": rate, "spikes": {**rate}},
    }


def train_spiking(
    split: Split,
    *,
    seed: int = 0,
    updates: int | None = None,
    budget_s: float | None = None,
    together: int = TOGETHER,
    progress: Progress = no_progress,
) -> Trained:
    """Train as `fit_spiking` does and return the weights."""
    torch = need("torch", "distill")
    if together < 1:
        raise InvalidInput(f"a bin of {together} sub-steps is none: give 1 or more")
    budget = Budget.of(UPDATES, updates=updates, seconds=budget_s)
    shape = Shape.of(split.training.bin_s * together)
    pacer = Pacer(budget)
    training = Material.of(split.training.trials, together=together, window=shape.window)
    validation = Material.of(split.validation.trials, together=together, window=shape.window)
    _check(training, split.training, together)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner = Learner(torch, training, validation, shape, seed=seed)
        loss = learner.learn(pacer, progress)
        weights = learner.weights()
    finally:
        torch.set_num_threads(threads)
    kept = [trial for trial, weight in enumerate(learner.trusted) if weight]
    weights = with_latents(weights, training, kept, sub_step_s=split.training.bin_s)
    weights = calibrated(weights, training, kept, seed=seed)
    doubted = ((training, learner.trusted), (validation, learner.trusted_validation))
    left_out = [of.names[trial] for of, trusted in doubted for trial in np.flatnonzero(trusted == 0).tolist()]
    return Trained(weights, loss, pacer.total, tuple(left_out), split, seed)


def _check(material: Material, experiment: Experiment, together: int) -> None:
    if material.there.sum() * experiment.bin_s * together < _LEAST_S:
        raise InvalidInput(f"the training trials are shorter than {_LEAST_S:g} s together: record more")
    silent = [
        name
        for name, fired in zip(experiment.cells, np.asarray(material.fired.any(axis=(0, 1))).tolist(), strict=True)
        if not fired
    ]
    if silent:
        raise InvalidInput(f"cell {silent[0]!r} never fires in the training trials: leave it out, or record more")
