"""What a report shows beside the numbers of a certificate: the answers themselves, and how the bets went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Counts

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BetTrace:
    """How e-values grew, repeat by repeat: log10, (repeat,)."""

    guard: F64
    switches: Mapping[float, F64]
    """By epsilon."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was compared: stimuli one after the other, scored bins only."""

    real: Counts
    drawn: Counts
    """The student's free answers, (repeat, time, cell)."""
    expected: F64
    """(time, cell), counts per bin."""
    joints: tuple[int, ...]
    """The bins at which another stimulus begins."""
    bets: BetTrace | None
    control: BetTrace | None
