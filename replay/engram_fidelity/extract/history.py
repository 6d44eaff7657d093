"""What a network without state can know of a stimulus: the bin itself, or its past seen through a few smooth windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.experiment import Stimulus

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Windows over the past of each channel; before a stimulus begins there are zeros."""

    windows: Float
    """(lag, window); lag 0 is the bin itself."""

    @classmethod
    def none(cls) -> Self:
        """Only the bin itself: for networks without memory, asked with patterns."""
        return cls(np.ones((1, 1)))

    @classmethod
    def bumps(cls, lags: int, count: int = 8) -> Self:
        """Make raised cosines, narrow for the near past and wide for the far one, that reach back over `lags` bins."""
        place = np.log(np.arange(lags) + 2.0)
        centres = np.linspace(place[0], place[-1], count)
        width = 2 * (centres[1] - centres[0])
        bumps = np.cos(np.clip((place[:, None] - centres) / width * np.pi * 2, -np.pi, np.pi)) + 1
        return cls(bumps / bumps.sum(axis=0))

    @property
    def lags(self) -> int:
        """How many bins it sees, the present one included."""
        return len(self.windows)

    def of(self, stimulus: Stimulus) -> Float:
        """Return features (..., time, channel times window) of stimuli (..., time, channel)."""
        padded = np.concatenate(
            [np.zeros((*stimulus.shape[:-2], self.lags - 1, stimulus.shape[-1])), stimulus], axis=-2
        )
        past = np.lib.stride_tricks.sliding_window_view(padded, self.lags, axis=-2)
        return (past @ self.windows[::-1]).reshape(*stimulus.shape[:-1], -1)

    def back(self, pull: Float, channels: int) -> Float:
        """Return the gradient on stimuli (..., time, channel) of what has the gradient `pull` on their features."""
        by_lag = pull.reshape(*pull.shape[:-1], channels, -1) @ self.windows.T
        found = by_lag[..., 0]
        for lag in range(1, min(self.lags, pull.shape[-2])):
            found[..., :-lag, :] += by_lag[..., lag:, :, lag]
        return np.asarray(found)
