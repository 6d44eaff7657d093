"""Which stimuli a certificate speaks of; of others it says nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engram_fidelity.certificate.value import Domain, Estimate
from engram_fidelity.coverage import Space
from engram_fidelity.experiment import Experiment, Trials


def domain_of(held_out: Experiment, training: Sequence[Trials], recorded: Sequence[Trials], *, seed: int) -> Domain:
    """Tell what the held-out stimuli covered, and how much of it the training trials had visited.

    Stimulus space is what all trials of the recording span, held out, trained on or neither. `training` is empty where nobody
    knows what the student was trained on.
    """
    known_ids = {one.stimulus_id for one in held_out.trials}
    others = recorded or training
    stimuli = [
        one.stimulus
        for one in (*held_out.trials, *others)
        if one in held_out.trials or one.stimulus_id not in known_ids
    ]
    space = Space.of(stimuli, bin_s=held_out.bin_s, seed=seed)
    asked = space.visited(held_out.trials)
    known = space.visited(training)
    shown = np.concatenate([one.stimulus for one in held_out.trials])
    return Domain(
        unit=held_out.unit,
        channels=len(held_out.channels),
        lowest=tuple(float(value) for value in shown.min(axis=0)),
        highest=tuple(float(value) for value in shown.max(axis=0)),
        history_s=round(space.history_s, 9),
        cells=space.cells,
        visited=len(asked),
        visited_in_training=Estimate(len(asked & known) / len(asked))
        if training
        else Estimate(None, missing="the student does not say which trials of this recording it was trained on"),
    )
