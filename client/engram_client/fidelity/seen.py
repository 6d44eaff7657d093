"""What a student has seen of a recording, as its metadata say: none of that is evidence of likeness."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engram_client.fidelity.reading import read_experiment
from engram_fidelity.digest import experiment_sha256
from engram_fidelity.distill.outcome import more_of
from engram_fidelity.experiment import Experiment, Trials
from engram_format.address import ContentAddress
from engram_format.catalog import Artifact, Kind
from engram_format.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engram_client.archive import Archive

_PIECE: Final = re.compile(r"(?P<id>.*)\[(?P<start>\d{1,9}):(?P<stop>\d{1,9})\]", re.DOTALL)
"""A part of a trial, in the bins that the student learned from, as distilling cuts long ones."""
_MOST_ORIGINS: Final = 64
_MOST_SUB_STEPS: Final = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """What taught a student, or what it was chosen by."""

    trials: tuple[Trials, ...] = ()
    """Trials of the recording, and parts of trials, as far as the metadata name them."""
    stimuli: frozenset[str] = frozenset()
    """Stimuli of the recording of which it has seen any part."""


def seen_in_line(
    archive: Archive, student: Artifact, recording: Artifact, experiment: Experiment, *, stimulus: str | None = None
) -> Seen:
    """Tell what a student has seen of a recording, and what those have that it was made from: its base, its teachers.

    A base that was trained on what its student had held out has told it. Origins are followed as far as they are in this archive.
    """
    trials: dict[str, Trials] = {}
    stimuli: frozenset[str] = frozenset()
    line, known = [student], {student.sha256}
    while line:
        one = line.pop(0)
        found = seen_by(
            one,
            recording,
            experiment,
            in_bins_of=lambda width: read_experiment(archive, recording.address, bin_s=width, stimulus=stimulus),
        )
        trials |= {part.stimulus_id: part for part in found.trials}
        stimuli |= found.stimuli
        for digest in one.made_from:
            if digest not in known and len(known) < _MOST_ORIGINS:
                known.add(digest)
                line += _student_of(archive, digest)
    return Seen(tuple(trials.values()), stimuli)


def _student_of(archive: Archive, sha256: str) -> list[Artifact]:
    try:
        found = archive.artifact(ContentAddress(sha256))
    except NotFound:
        return []
    return [found] if found.kind is Kind.STUDENT else []


def seen_by(
    student: Artifact,
    recording: Artifact,
    experiment: Experiment,
    *,
    in_bins_of: Callable[[float], Experiment],
) -> Seen:
    """Tell what a student has seen of the experiment that a recording holds; nothing where it was made from another recording.

    A recording is the same where its bytes are, or the experiment in it is: `in_bins_of` reads it in the student's bins if
    these are others. Where the metadata name only the first of very many stimuli, all have been seen but those that they say
    were held out. Raises `InvalidInput` for metadata that are no lists of stimuli.
    """
    lists = [_ids(student, f"distill.{name}") for name in ("training", "validation")]
    if not any(lists) or not _same(student, recording, experiment, in_bins_of=in_bins_of):
        return Seen()
    held = {one.stimulus_id: one for one in experiment.trials}
    named = dict.fromkeys((*lists[0], *lists[1]))
    parts = [_part(held, one, together=_sub_steps(student)) for one in named]
    found = [one for one in parts if one is not None]
    if any(more_of(one) for ids in lists for one in ids[-1:]):
        stimuli = frozenset(held).difference(_ids(student, "distill.held_out"))
    else:
        # A stimulus may itself be called like a piece of another, `x[0:5]`: then both count as seen.
        pieces = frozenset(piece["id"] for one in named if (piece := _PIECE.fullmatch(one)))
        stimuli = frozenset(name for name, _ in found) | (pieces & frozenset(held))
    return Seen(tuple(trials for _, trials in found if trials is not None), stimuli)


def _ids(student: Artifact, name: str) -> tuple[str, ...]:
    """Return the stimulus ids that a student's metadata hold under a name, none where there are none."""
    held = student.metadata.get(name)
    if held is None:
        return ()
    try:
        told = json.loads(str(held))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise InvalidInput(
            f"{student.address} has metadata {name} that are no JSON list of stimulus ids: distil it again, or mend them"
        )
    return tuple(told)


def _sub_steps(student: Artifact) -> int:
    """Return how many of the bins that a student learned from make one of its own; metadata may say anything."""
    told = student.metadata.get("distill.sub_steps", 1)
    return told if isinstance(told, int) and 1 <= told <= _MOST_SUB_STEPS else 1


def _same(
    student: Artifact, recording: Artifact, experiment: Experiment, *, in_bins_of: Callable[[float], Experiment]
) -> bool:
    if not student.made_from or recording.sha256 in student.made_from:
        return True
    digest = student.metadata.get("distill.experiment_sha256")
    if digest == experiment_sha256(experiment):
        return True
    sub_steps = _sub_steps(student)
    if digest is None or sub_steps < 2:
        return False
    try:
        return digest == experiment_sha256(in_bins_of(experiment.bin_s / sub_steps))
    except InvalidInput:
        return False  # a recording without such bins is not the one that it learned from


def _part(held: dict[str, Trials], named: str, *, together: int) -> tuple[str, Trials | None] | None:
    """Return the stimulus that is named, and the trials or the part of them in the experiment's bins; `None` if it has none."""
    if named in held:
        return named, held[named]
    piece = _PIECE.fullmatch(named)
    if piece is None or (whole := held.get(piece["id"])) is None:
        return None
    part = slice(int(piece["start"]) // together, int(piece["stop"]) // together)
    if not len(whole.stimulus[part]):
        return piece["id"], None
    return piece["id"], Trials(named, whole.stimulus[part], whole.counts[:, part])
