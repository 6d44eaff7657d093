"""Certifying: a student answers the held-out stimuli, and is held against what the network answered."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.certificate.domain import domain_of
from engram_fidelity.certificate.drift import drift_of
from engram_fidelity.certificate.freely import Answers, free_running
from engram_fidelity.certificate.further import calibration_error, rescaled_intervals, spike_distance
from engram_fidelity.certificate.means import ceilings, mean_measures
from engram_fidelity.certificate.value import Certificate, Data, Measure, Named, Settings
from engram_fidelity.digest import experiment_sha256
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.extras import need
from engram_fidelity.grade import Case, grade
from engram_fidelity.report.evidence import Evidence
from engram_fidelity.responder import RateResponder
from engram_fidelity.seeds import derived
from engram_fidelity.twosample import Windows
from engram_format.catalog import Scalar
from engram_format.errors import InvalidInput, Precondition

F64 = NDArray[np.float64]

_LIBRARIES: Final = ("engram", "numpy", "scipy", "scikit-learn")
_NOBODY: Final = Named("", "")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a certificate names, beside the numbers: one student, one recording."""

    student: Named = _NOBODY
    recording: Named = _NOBODY
    training: tuple[Trials, ...] = ()
    """The trials of the recording that the student was trained on; none where nobody knows."""
    recorded: tuple[Trials, ...] = ()
    """All trials of the recording, which span its stimulus space."""
    profile: Mapping[str, Scalar] | None = None
    rate_is_hazard: bool = False
    """Whether the student does not hear its own spikes, so that what it expects is its hazard."""


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """A certificate and what its pictures show."""

    certificate: Certificate
    evidence: Evidence


def certify(
    responder: RateResponder,
    held_out: Experiment,
    *,
    seed: int,
    ceiling: bool = True,
    subject: Subject | None = None,
) -> Certificate:
    """Say how alike a student and a network are, from stimuli that it was not trained on and the network's repeated answers.

    The same arguments give the same certificate. With `ceiling`, only stimuli shown more than once count, and a recording without
    any is refused (`Precondition`); without, the certificate says so, knows no CC_norm and is graded C. Raises `InvalidInput` for
    a student of other channels or cells, one that answers NaN or never, a network that did not fire, stimuli that never
    change or are too short; `Precondition` without scikit-learn.
    """
    return examine(responder, held_out, Settings(seed=seed, ceiling=ceiling), subject=subject).certificate


def examine(
    responder: RateResponder, held_out: Experiment, settings: Settings, *, subject: Subject | None = None
) -> Examination:
    """Certify, and keep what the pictures show."""
    for module in ("sklearn.ensemble", "sklearn.linear_model"):
        need(module, "certify")  # before the limit, which holds for the libraries that are loaded then
    # One thread: sums in one order, so that the same numbers come out again, and no waiting for others' work.
    with need("threadpoolctl", "certify").threadpool_limits(limits=1):
        return _examine(responder, held_out, settings, subject or Subject())


def _examine(responder: RateResponder, held_out: Experiment, settings: Settings, about: Subject) -> Examination:
    settings = _fitted(settings, held_out.bin_s)
    windows = Windows.of(bin_s=settings.bin_s, window_s=settings.window_s, part_s=settings.coarse_s, score_from_s=0.0)
    shown = _scored_trials(held_out, settings, windows)
    answers, joints = _answers(responder, shown, settings, windows)
    real, expected = answers.real, answers.expected
    together = windows.part
    means = mean_measures(
        real, expected, bin_s=settings.bin_s, together=together, resamples=settings.resamples, seed=settings.seed
    )
    further = (
        spike_distance(real, answers.drawn, settings),
        *rescaled_intervals(real, expected, settings, rate_is_hazard=about.rate_is_hazard),
    )
    free, bets, control = free_running(answers, windows, settings, further)
    cc_norm = _widest(means, "cc_norm") if settings.ceiling else None
    verdict = grade(Case(cc_norm=cc_norm, betting=free.betting, epsilon=settings.epsilon, cells=held_out.cells))
    certificate = Certificate(
        student=about.student,
        recording=about.recording,
        data=Data(
            experiment_sha256=experiment_sha256(shown),
            stimuli=tuple(one.stimulus_id for one in shown.trials),
            repeats=len(real),
            bins=real.shape[1],
            spikes=int(real.sum()),
            cells=held_out.cells,
        ),
        settings=settings,
        measures=(*means, calibration_error(real, expected, settings)),
        ceilings=ceilings(real, bin_s=settings.bin_s, together=together, seed=settings.seed),
        free_running=free,
        domain=domain_of(shown, about.training, about.recorded, seed=settings.seed),
        drift=drift_of(real, windows, settings),
        grade=verdict,
        versions=_versions(),
        profile=about.profile or {},
    )
    evidence = Evidence(
        real=real.astype(np.uint8),
        drawn=answers.drawn.astype(np.uint8),
        expected=expected,
        joints=joints,
        bets=bets,
        control=control,
    )
    return Examination(certificate, evidence)


def _fitted(settings: Settings, bin_s: float) -> Settings:
    """Return the settings with the widths that are whole numbers of these bins."""
    cut = Windows.of(
        bin_s=bin_s, window_s=settings.window_s, part_s=settings.coarse_s, score_from_s=settings.score_from_s
    )
    return replace(
        settings,
        bin_s=bin_s,
        window_s=round(cut.length * bin_s, 9),
        coarse_s=round(cut.part * bin_s, 9),
        score_from_s=round(cut.skipped * bin_s, 9),
    )


def _scored_trials(held_out: Experiment, settings: Settings, windows: Windows) -> Experiment:
    """Return the stimuli that count, each with as many repeats as all have; raises where there are none."""
    chosen: Sequence[Trials] = held_out.repeated if settings.ceiling else held_out.trials
    if not chosen:
        raise Precondition(
            "no stimulus was shown more than once, so nobody knows how much of the answers could be told: record repeats "
            "(20 of 6 s serve well), or give --no-ceiling, which is written into the certificate"
        )
    long = [one for one in chosen if one.bins - _skipped(settings) >= windows.length]
    if not long:
        raise InvalidInput(
            f"no stimulus lasts {settings.score_from_s + settings.window_s:g} s, and the first {settings.score_from_s:g} s are not "
            "scored: bring longer ones"
        )
    repeats = min(one.repeats for one in long)
    stimuli = np.concatenate([one.stimulus for one in long])
    if not np.ptp(stimuli, axis=0).any():
        raise InvalidInput(
            "the held-out stimulus never changes, so that nothing can be said of answers to it: bring one that does"
        )
    kept = tuple(Trials(one.stimulus_id, one.stimulus, one.counts[:repeats]) for one in long)
    return Experiment(kept, held_out.bin_s, held_out.channels, held_out.cells, held_out.unit)


def _skipped(settings: Settings) -> int:
    return round(settings.score_from_s / settings.bin_s)


def _answers(
    responder: RateResponder, shown: Experiment, settings: Settings, windows: Windows
) -> tuple[Answers, tuple[int, ...]]:
    """Ask the student, and return the scored bins of all stimuli one after the other, each in whole windows; and the joints."""
    wanted = (len(shown.channels), len(shown.cells))
    if (responder.channels, responder.cells) != wanted:
        raise InvalidInput(
            f"the student has {responder.channels} channels and {responder.cells} cells where the recording has {wanted[0]} and "
            f"{wanted[1]}: it is a student of other electrodes"
        )
    real, drawn, expected, lengths = [], [], [], []
    for number, one in enumerate(shown.trials):
        first = _skipped(settings)
        last = first + (one.bins - first) // windows.length * windows.length
        told = np.asarray(responder.expected(one.stimulus, seed=settings.seed), np.float64)
        free = np.asarray(responder.sample(one.stimulus, repeats=one.repeats, seed=_drawing(settings.seed, number)))
        _check(told, free, one)
        real.append(one.counts[:, first:last].astype(np.float64))
        drawn.append(free[:, first:last].astype(np.float64))
        expected.append(told[first:last])
        lengths.append(last - first)
    answers = Answers(np.concatenate(real, axis=1), np.concatenate(drawn, axis=1), np.concatenate(expected))
    if not answers.real.any():
        raise InvalidInput("no cell fired in the scored part of the recording: there is nothing to be alike to")
    return answers, tuple(np.cumsum(lengths[:-1]).tolist())


def _drawing(seed: int, number: int) -> int:
    """Return the seed of the free answers to a stimulus.

    It is not that of the expectation, which for a student with noise is a mean of free runs: those must be others than the ones
    that are judged, since discriminators are told what is expected.
    """
    return derived(seed, 0xD2A3, number)


def _check(told: F64, free: NDArray[np.generic], trials: Trials) -> None:
    bins, cells = trials.counts.shape[1:]
    if told.shape != (bins, cells) or free.shape != trials.counts.shape:
        raise InvalidInput(
            f"the student answers stimulus {trials.stimulus_id!r} with {told.shape} and {free.shape} where the network "
            f"answered with {(bins, cells)} and {trials.counts.shape}: its bins are not those of the recording"
        )
    if not np.isfinite(told).all() or (told < 0).any():
        raise InvalidInput(
            f"the student answers stimulus {trials.stimulus_id!r} with NaN, infinity or less than 0: mend it"
        )


def _widest(measures: tuple[Measure, ...], name: str) -> Measure | None:
    found = [one for one in measures if one.name == name]
    return max(found, key=lambda one: one.bin_s, default=None)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found
