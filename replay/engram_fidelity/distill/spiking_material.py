"""Trials as a learner of spikes takes them: in bins and sub-steps, one behind the other, with the ages of each cell's spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.distill.renewal import REMEMBERED, SPAN, ages_of
from engram_fidelity.experiment import Trials
from engram_fidelity.graph import F32


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Trials laid one behind the other, each filled up to a window's length."""

    names: tuple[str, ...]
    stimulus: F32
    """(bin, channel)."""
    fired: NDArray[np.bool_]
    """(bin, sub-step, cell)."""
    ages: NDArray[np.uint8]
    """(bin, sub-step, cell, remembered)."""
    there: F32
    """(bin,): 1 where a trial has a bin, 0 where it was filled up."""
    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, trials: Sequence[Trials], *, together: int, window: int) -> Material:
        """Lay out trials; their bins are sub-steps."""
        parts: list[tuple[F32, NDArray[np.bool_], NDArray[np.uint8], F32]] = []
        starts, lengths, at = [], [], 0
        for one in trials:
            for counts in one.counts:
                bins = one.bins // together
                fill = max(0, window - bins)
                shown = one.stimulus[: bins * together].reshape(bins, together, -1).mean(axis=1)
                fired = counts[: bins * together] > 0
                ages = ages_of(fired).reshape(bins, together, -1, REMEMBERED)
                parts.append(
                    (
                        np.pad(shown, ((0, fill), (0, 0))),
                        np.pad(fired.reshape(bins, together, -1), ((0, fill), (0, 0), (0, 0))),
                        np.pad(ages, ((0, fill), (0, 0), (0, 0), (0, 0)), constant_values=SPAN),
                        np.pad(np.ones(bins, np.float32), (0, fill)),
                    )
                )
                starts.append(at)
                lengths.append(bins + fill)
                at += bins + fill
        stimulus, spikes, old, there = (np.concatenate(each) for each in zip(*parts, strict=True))
        names = tuple(one.stimulus_id for one in trials for _ in one.counts)
        return cls(names, stimulus, spikes, old, there, tuple(starts), tuple(lengths))

    def windows(self, window: int, warm: int) -> list[tuple[int, int]]:
        """Return trial and first bin of windows whose judged parts cover all bins after each trial's first `warm`."""
        found = []
        for trial, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            firsts = range(0, max(1, length - window + 1), window - warm)
            found += [(trial, start + first) for first in firsts]
        return found
