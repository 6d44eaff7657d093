"""Which stimuli taught a student, as its metadata say, and which of a recording it has therefore seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from engram_fidelity.experiment import Experiment, Trials
from engram_format.errors import InvalidInput

_PIECE: Final = re.compile(r"(?P<id>.*)\[(?P<start>\d{1,9}):(?P<stop>\d{1,9})\]", re.DOTALL)
"""A part of a trial, in bins, as distilling cuts long ones."""
TAUGHT: Final = ("distill.training", "distill.validation")
"""Names of the metadata that tell what a student was trained on, and what it was chosen by."""


def training_ids(metadata: Mapping[str, object], name: str) -> tuple[str, ...]:
    """Return the stimulus ids that a student's metadata hold under a name, none where there are none.

    Raises `InvalidInput` for what is no JSON list of texts.
    """
    held = metadata.get(name)
    if held is None:
        return ()
    try:
        told = json.loads(str(held))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise InvalidInput(
            f"the student's metadata {name} are no JSON list of stimulus ids: distil it again, or mend them"
        )
    return tuple(told)


def taught_ids(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return all stimulus ids, and pieces of stimuli, that a student was trained on or chosen by."""
    return tuple(one for name in TAUGHT for one in training_ids(metadata, name))


def stimuli_seen(ids: Iterable[str]) -> frozenset[str]:
    """Return the stimuli that a student has seen any part of.

    A stimulus may itself be called like a piece of another, `x[0:5]`: then both count as seen.
    """
    seen = set(ids)
    return frozenset(seen | {piece["id"] for one in seen if (piece := _PIECE.fullmatch(one))})


def taught_trials(experiment: Experiment, ids: Sequence[str]) -> tuple[Trials, ...]:
    """Return the trials, and parts of trials, that these ids name, as far as the recording has them."""
    held = {one.stimulus_id: one for one in experiment.trials}
    found = []
    for one in dict.fromkeys(ids):
        if one in held:
            found.append(held[one])
        elif (piece := _PIECE.fullmatch(one)) and (whole := held.get(piece["id"])) is not None:
            part = slice(int(piece["start"]), int(piece["stop"]))
            if len(whole.stimulus[part]):
                found.append(Trials(one, whole.stimulus[part], whole.counts[:, part]))
    return tuple(found)
