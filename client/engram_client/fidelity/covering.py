"""What part of stimulus space a deposited recording has visited, and how many more minutes a target needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.fidelity.permission import may_be_trained_on, may_be_used
from engram_client.fidelity.reading import read_experiment
from engram_client.fidelity.students import ArchiveStudent
from engram_fidelity.coverage import Coverage, Disagreement, Space, cover, disagree
from engram_fidelity.distill.quick import quick_student
from engram_fidelity.distill.split import Split, split
from engram_fidelity.distill.tiers import check_can_teach
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.learning_curve import LearningCurve, extrapolate, measure
from engram_fidelity.metrics.correlation import cc, rebin
from engram_fidelity.responder import RateResponder
from engram_format.address import Address, AnyAddress
from engram_format.catalog import Artifact
from engram_format.errors import Denied, InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive

Warn = Callable[[str], None]

_COARSE_S: Final = 0.02
_SCORE_FROM_S: Final = 0.36
_ENSEMBLE: Final = 4


@dataclass(frozen=True, slots=True)
class Covered:
    """What a recording covers."""

    recording: Address
    coverage: Coverage
    disagreement: Disagreement | None
    """`None` where no students were named and none may be made."""
    between: str
    """Who disagreed."""
    curve: LearningCurve | None
    """`None` where fidelity is not known."""
    missing: str = ""
    """Why it is not."""


def cover_recording(
    archive: Archive,
    recording: AnyAddress,
    *,
    students: Sequence[AnyAddress] = (),
    target: float = 0.9,
    seed: int = 0,
    bin_s: float = 0.005,
    warn: Warn = lambda _: None,
) -> Covered:
    """Tell which part of stimulus space the trials that may teach a student visit, where students disagree, and what is missing.

    With two students or more, those are asked; else some quick ones of halves of the training. The learning curve is that of
    quick students, which nobody keeps (`engram_fidelity.distill.quick`): a better tier starts higher. Where consent does not allow
    to train models, no student is made, and that is told. Raises `InvalidInput` for one student.
    """
    if len(students) == 1:
        raise InvalidInput("one student agrees with itself: name at least two with --student, or none")
    artifact = archive.artifact(recording)
    may_be_used(archive, artifact)
    experiment = read_experiment(archive, artifact.address, bin_s=bin_s, warn=warn)
    parts = split(experiment, seed)
    training = _in_order(experiment, parts)
    held_out = () if parts.held_out is None else parts.held_out.trials
    stimuli = [one.stimulus for one in (*training.trials, *held_out)]
    if not np.ptp(np.concatenate(stimuli), axis=0).any():
        raise InvalidInput(f"the stimulus of {artifact.address} never changes: there is no space to cover")
    space = Space.of(stimuli, bin_s=experiment.bin_s, seed=seed)
    asked: list[RateResponder] = []
    for address in students:
        student = ArchiveStudent(archive, address, bin_s=bin_s)
        student.check(experiment)
        asked.append(student)
    between = f"{len(students)} students"
    missing = _forbidden(archive, artifact)
    if not missing:
        check_can_teach(training)
    if not asked and not missing:
        asked, between = _ensemble(training, seed), f"{_ENSEMBLE} quick students of halves of the training"
    curve = _curve(training, held_out, target=target, seed=seed) if held_out and not missing else None
    return Covered(
        recording=artifact.address,
        coverage=cover(space, training.trials, held_out),
        disagreement=disagree(asked, space, held_out or training.trials, seed=seed) if asked else None,
        between=between if asked else "",
        curve=curve,
        missing=missing
        or ("" if held_out else "no stimulus was shown more than once, so there is no fidelity to tell"),
    )


def _forbidden(archive: Archive, recording: Artifact) -> str:
    """Return why no model may be trained on a recording; nothing where one may."""
    try:
        may_be_trained_on(archive, recording)
    except Denied as error:
        return str(error)
    return ""


def _in_order(experiment: Experiment, parts: Split) -> Experiment:
    """Return training and validation trials together, in the order of the recording."""
    order = {one.stimulus_id: place for place, one in enumerate(experiment.trials)}
    trials = sorted(
        (*parts.training.trials, *parts.validation.trials), key=lambda one: order.get(one.stimulus_id, len(order))
    )
    return _of(experiment, trials)


def _ensemble(training: Experiment, seed: int) -> list[RateResponder]:
    random = np.random.default_rng([seed, 0xE25E])
    half = max(1, len(training.trials) // 2)
    chosen = [random.permutation(len(training.trials))[:half] for _ in range(_ENSEMBLE)]
    return [
        quick_student(_of(training, [training.trials[place] for place in places]), seed=seed + turn)
        for turn, places in enumerate(chosen)
    ]


def _curve(training: Experiment, held_out: Sequence[Trials], *, target: float, seed: int) -> LearningCurve:
    together = max(1, round(_COARSE_S / training.bin_s))
    first = round(_SCORE_FROM_S / training.bin_s)

    def score(trials: Sequence[Trials], turn: int) -> float:
        try:
            student = quick_student(_of(training, trials), seed=turn)
        except InvalidInput:
            return math.nan  # so small a part teaches nothing
        told = [
            _cc_norm(one, student.expected(one.stimulus, seed=turn), first=first, together=together) for one in held_out
        ]
        return float(np.nanmean(told)) if np.isfinite(told).any() else math.nan

    points = measure(training.trials, score, bin_s=training.bin_s, seed=seed)
    return extrapolate(points, target=target, seed=seed)


def _of(training: Experiment, trials: Sequence[Trials]) -> Experiment:
    return replace(training, trials=tuple(trials))


def _cc_norm(
    trials: Trials, expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]], *, first: int, together: int
) -> float:
    """Return CC_norm, the mean over cells; NaN for a stimulus that is too short or cells that agree on nothing."""
    if trials.bins - first < 2 * together:
        return math.nan
    real, told = rebin(trials.counts[:, first:], together, 1), rebin(expected[first:], together, 0)
    each = [cc(real[:, :, cell], told[:, cell]).cc_norm for cell in range(real.shape[2])]
    return float(np.nanmean(each)) if np.isfinite(each).any() else math.nan
