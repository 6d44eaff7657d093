"""An experiment in bins: which stimulus was shown, and what each cell answered, once or many times.

This is what students are distilled from and certified against. A stimulus that was shown more than once tells how much of the
answer the stimulus explains at all; one that was shown once teaches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import InvalidInput

Stimulus = NDArray[np.float32]
"""(time, channel), in bins."""
Counts = NDArray[np.uint8]
"""Spikes of each cell in each bin: (repeat, time, cell)."""


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """All presentations of one stimulus. Raises `InvalidInput` for shapes that do not fit and a stimulus that is not finite."""

    stimulus_id: str
    stimulus: Stimulus
    counts: Counts

    def __post_init__(self) -> None:
        what = f"stimulus {self.stimulus_id!r}"
        if self.stimulus.ndim != 2 or self.counts.ndim != 3 or len(self.stimulus) != self.counts.shape[1]:
            raise InvalidInput(
                f"{what} has bins {self.stimulus.shape} and answers {self.counts.shape}: "
                "bring (time, channel) and (repeat, time, cell) in the same bins"
            )
        if 0 in self.stimulus.shape or 0 in self.counts.shape:
            raise InvalidInput(f"{what} has no bins, channels, repeats or cells: leave it out")
        if self.stimulus.dtype != np.float32 or self.counts.dtype != np.uint8:
            raise InvalidInput(f"{what} is {self.stimulus.dtype} and {self.counts.dtype}: bring float32 and uint8")
        if not np.isfinite(self.stimulus).all():
            raise InvalidInput(f"{what} holds NaN or infinity: mend the recording, or leave the trial out")

    @property
    def repeats(self) -> int:
        """How often the stimulus was shown."""
        return len(self.counts)

    @property
    def bins(self) -> int:
        """Its length in bins."""
        return len(self.stimulus)


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """Trials of the same cells under stimuli of the same channels, in bins of one width.

    Raises `InvalidInput` where trials differ in channels or cells, or two have one id.
    """

    trials: tuple[Trials, ...]
    bin_s: float
    channels: tuple[str, ...]
    """Names of the stimulus channels."""
    cells: tuple[str, ...]
    """Names of the cells (units, electrodes)."""
    unit: str = ""
    """The unit of the stimulus."""

    def __post_init__(self) -> None:
        if not self.trials:
            raise InvalidInput("the experiment has no trials: say which stimulus was shown when")
        if not (math.isfinite(self.bin_s) and self.bin_s > 0):
            raise InvalidInput(f"a bin of {self.bin_s} s is none: give a positive width")
        wanted = (len(self.channels), len(self.cells))
        for trials in self.trials:
            if (got := (trials.stimulus.shape[1], trials.counts.shape[2])) != wanted:
                raise InvalidInput(
                    f"stimulus {trials.stimulus_id!r} has {got[0]} channels and {got[1]} cells where the experiment has "
                    f"{wanted[0]} and {wanted[1]}: bring trials of one preparation"
                )
        ids = [trials.stimulus_id for trials in self.trials]
        if len(set(ids)) < len(ids):
            raise InvalidInput("two trials have one stimulus id: put the repeats of a stimulus together")

    @property
    def once(self) -> tuple[Trials, ...]:
        """Trials of stimuli that were shown once."""
        return tuple(trials for trials in self.trials if trials.repeats == 1)

    @property
    def repeated(self) -> tuple[Trials, ...]:
        """Trials of stimuli that were shown more than once."""
        return tuple(trials for trials in self.trials if trials.repeats > 1)

    def of(self, stimulus_ids: Iterable[str]) -> Experiment:
        """Return the experiment with only the named trials, in its own order; raises `InvalidInput` for one it lacks."""
        wanted = set(stimulus_ids)
        if missing := wanted - {trials.stimulus_id for trials in self.trials}:
            near = ", ".join(f"{trials.stimulus_id!r:.40}" for trials in self.trials[:5])
            raise InvalidInput(f"the experiment has no stimulus {sorted(missing)[0]!r:.80}: it has {near}")
        chosen = tuple(trials for trials in self.trials if trials.stimulus_id in wanted)
        return Experiment(chosen, self.bin_s, self.channels, self.cells, self.unit)
