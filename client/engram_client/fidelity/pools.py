"""Stimuli to ask a student with: pieces of a deposited recording's stimulus, or noise between two amplitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from engram_client.fidelity.permission import may_be_used
from engram_client.fidelity.reading import read_experiment
from engram_client.fidelity.students import ArchiveStudent
from engram_fidelity.experiment import Stimulus
from engram_fidelity.extract import History
from engram_format.address import AnyAddress
from engram_format.catalog import Artifact, Kind
from engram_format.errors import Exhausted, InvalidInput

if TYPE_CHECKING:
    from engram_client.archive import Archive


_MAX_BYTES: Final = 2**30
_MOST_LAGS: Final = 2**12
_WINDOWS: Final = 8
"""Windows over the past of each channel (`History.bumps`)."""
_UNITS: Final = 320
"""Numbers of hidden units of all members of an ensemble, twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A student that is asked, and what is known of its memory."""

    responder: ArchiveStudent
    remembers: bool

    @property
    def artifact(self) -> Artifact:
        """The student as an artifact."""
        return self.responder.artifact

    def history(self, bin_s: float, *, memory_s: float) -> History:
        """Return how much of the past is looked at: nothing for a network without states."""
        if not self.remembers:
            return History.none()
        if not 0 < memory_s <= _MOST_LAGS * bin_s:
            raise InvalidInput(
                f"a memory of {memory_s:g} s is more than the {_MOST_LAGS} bins of {bin_s:g} s that are looked back at: "
                "choose a shorter one"
            )
        return History.bumps(max(2, round(memory_s / bin_s)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which stimuli are wanted."""

    recording: AnyAddress | None = None
    """Whose stimulus is cut into pieces; without one, noise."""
    clip_s: float = 0.5
    """The length of a piece, for networks with memory; others are asked with single bins."""
    least: float = 0.0
    greatest: float = 1.0
    """Amplitudes between which noise lies."""
    hold_s: float = 0.0167
    """How long noise keeps a value, for networks with memory."""


def open_network(archive: Archive, address: AnyAddress, *, bin_s: float | None) -> tuple[Network, float]:
    """Open a student, in its own step or, where its contract names none, in bins of `bin_s`."""
    artifact = archive.artifact(address)
    if artifact.kind is Kind.RECORDING:
        raise InvalidInput(
            f"{artifact.address} is a recording, no student: name an ONNX network that answers to a stimulus"
        )
    with archive.open_minds(artifact.address, minds=1, sample=0) as minds:
        interval = minds.sampling_interval_s or bin_s
        remembers = any(port.role == "state" for port in minds.ports)
    if interval is None:
        raise InvalidInput(f"{address} does not say how long one of its steps is: say so with --bin, such as 5ms")
    return Network(ArchiveStudent(archive, artifact.address, bin_s=interval), remembers), interval


def stimuli_of(
    archive: Archive, wanted: Wanted, *, count: int, channels: int, bins: int, bin_s: float, seed: int
) -> Stimulus:
    """Return up to `count` different stimuli of `bins` bins: (stimulus, time, channels), in an order that the seed draws.

    Raises `InvalidInput` where a recording has no piece of this length, or other channels, and `Exhausted` for more than memory
    should hold.
    """
    if not _numbers_for_each_bin(channels) * bins * count * 8 <= _MAX_BYTES:
        raise Exhausted(
            f"{count} stimuli of {bins} bins and {channels} channels are more than memory should hold ({_MAX_BYTES} bytes, with "
            "what is computed of them): ask for fewer, or for shorter clips"
        )
    rng = np.random.default_rng([seed, 0x9001])
    if wanted.recording is None:
        with np.errstate(over="ignore"):
            ends = np.array([wanted.least, wanted.greatest, wanted.greatest - wanted.least]).astype(np.float32)
        if not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise InvalidInput(
                f"noise from {wanted.least} to {wanted.greatest} is none: give a least and a greater amplitude, both of which "
                "32 bits hold"
            )
        hold = max(1, round(wanted.hold_s / bin_s)) if bins > 1 else 1
        values = rng.uniform(wanted.least, wanted.greatest, (count, -(-bins // hold), channels))
        return np.repeat(values, hold, axis=1)[:, :bins].astype(np.float32)
    recording = archive.artifact(wanted.recording)
    may_be_used(archive, recording)
    experiment = read_experiment(archive, recording.address, bin_s=bin_s)
    if len(experiment.channels) != channels:
        raise InvalidInput(
            f"{wanted.recording} has {len(experiment.channels)} stimulus channels and the student {channels}: "
            "bring stimuli that it takes"
        )
    pieces = [
        trials.stimulus[first : first + bins]
        for trials in experiment.trials
        for first in range(0, trials.bins - bins + 1, bins)
    ]
    if not pieces:
        raise InvalidInput(f"{wanted.recording} has no stimulus of {bins} bins: ask for shorter clips")
    return np.stack([pieces[number] for number in rng.permutation(len(pieces))[:count]])


def _numbers_for_each_bin(channels: int) -> int:
    """Return about how many numbers are held for each bin of a stimulus: itself, its past, and what an ensemble makes of it."""
    return channels * (2 + 2 * _WINDOWS) + _UNITS
