"""What a student is taught to expect: spikes, or something smoother where more is known than one answer.

The likelihood of Poisson counts is linear in the counts, so the mean over repeats teaches exactly what the repeats one by one
would. Soft targets go further: a share of them is the answer's probability as somebody else estimates it, from the repeats'
neighbouring bins, or as another student knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.graph import F32
from engram_fidelity.responder import RateResponder
from engram_format.errors import InvalidInput

SHARE: Final = 0.5
"""The share of a soft target that is a probability; the rest are the spikes."""
SMOOTHED_S: Final = 0.01
"""The spread of the Gaussian window over which repeats' answers are averaged, in seconds."""


def spikes(experiment: Experiment) -> list[F32]:
    """Return the spikes of each trial, the mean over repeats: (time, cell) each."""
    return [trials.counts.mean(axis=0, dtype=np.float32) for trials in experiment.trials]


def targets(
    experiment: Experiment, *, soft: bool = False, teacher: RateResponder | None = None, seed: int = 0
) -> list[F32]:
    """Return what each training trial teaches, (time, cell) each.

    A teacher's expected counts are mixed with the spikes by `SHARE`; without a teacher, `soft` mixes in the answer to repeated
    stimuli, smoothed. Raises `InvalidInput` for a teacher of other channels or cells, and where `soft` finds no repeats.
    """
    if teacher is not None:
        _check(teacher, experiment)
        known = [teacher.expected(trials.stimulus, seed=seed) for trials in experiment.trials]
        return _mixed(spikes(experiment), known)
    if not soft:
        return spikes(experiment)
    if not experiment.repeated:
        raise InvalidInput(
            "soft targets come from repeats, and no stimulus that may teach was repeated (repeated ones are held out where others "
            "are there): name a teacher, or learn from the spikes"
        )
    return [_softened(trials, experiment.bin_s) for trials in experiment.trials]


def _check(teacher: RateResponder, experiment: Experiment) -> None:
    wanted = (len(experiment.channels), len(experiment.cells))
    if (teacher.channels, teacher.cells) != wanted:
        raise InvalidInput(
            f"the teacher has {teacher.channels} channels and {teacher.cells} cells where the recording has {wanted[0]} and "
            f"{wanted[1]}: name a student of the same preparation"
        )


def _mixed(hard: Sequence[F32], known: Sequence[F32]) -> list[F32]:
    share = np.float32(SHARE)
    return [
        np.asarray((1 - share) * counts + share * rate, np.float32) for counts, rate in zip(hard, known, strict=True)
    ]


def _softened(trials: Trials, bin_s: float) -> F32:
    mean = trials.counts.mean(axis=0, dtype=np.float32)
    if trials.repeats == 1:
        return np.asarray(mean, np.float32)
    reach = max(1, round(3 * SMOOTHED_S / bin_s))
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) * bin_s / SMOOTHED_S) ** 2)
    # A window that reaches over an end is filled up with what is inside.
    inside = np.convolve(np.ones(len(mean)), window, mode="full")[reach : reach + len(mean)]
    smooth = [np.convolve(cell, window, mode="full")[reach : reach + len(mean)] / inside for cell in mean.T]
    (mixed,) = _mixed([mean], [np.stack(smooth, axis=1).astype(np.float32)])
    return mixed
