"""What is left of long traces in a picture: for each of its columns the least and the greatest value, so that no spike is lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Envelope:
    """The extremes of samples `start` up to `stop` of some channels, in at most `columns` columns of equal length.

    Blocks (time, channel) are added in order, so that no more than one of them is held.
    """

    def __init__(self, start: int, stop: int, channels: int, *, columns: int) -> None:
        count = min(columns, stop - start)
        self.edges = start + (np.arange(count + 1) * (stop - start)) // count
        """Number of the first sample of each column, and of the one after the last."""
        self.low: NDArray[np.float64] = np.full((count, channels), np.inf)
        """(column, channel)"""
        self.high: NDArray[np.float64] = np.full((count, channels), -np.inf)
        """(column, channel)"""

    @property
    def is_exact(self) -> bool:
        """Whether each column is one sample."""
        return bool(self.edges[-1] - self.edges[0] == len(self.low))

    @property
    def middles(self) -> NDArray[np.float64]:
        """The place of each column's middle, in samples."""
        return (self.edges[:-1] + self.edges[1:] - 1) / 2

    def add(self, at: int, block: NDArray[np.float64]) -> None:
        """Take the samples from number `at` on; what is no number (NaN) is left out."""
        first = int(np.searchsorted(self.edges, at, side="right")) - 1
        last = int(np.searchsorted(self.edges, at + len(block), side="left"))
        starts = np.maximum(self.edges[first:last] - at, 0)
        touched = slice(first, last)
        self.low[touched] = np.fmin(self.low[touched], np.fmin.reduceat(block, starts, axis=0))
        self.high[touched] = np.fmax(self.high[touched], np.fmax.reduceat(block, starts, axis=0))
