"""The demonstration's recording: ganglion cells of a retina that watched moving bars.

Six cells on a multi-electrode array, published with Mahuas et al., NeurIPS 2020 (`data/SOURCES.md`). The files have bins of
1/600 s; here three of them make one bin of 5 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import scipy.io
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
RETINA_FILES = tuple(DATA / "retina_bars" / f"{name}_data_bars.mat" for name in ("nonrepeat", "test", "repeat"))
"""What a depositor would put into a memory: the training stimulus, the held-out one, and a part of that."""
RETINA_BARS_NWB = DATA / "retina_bars" / "retina_bars.nwb"
"""The first two of them in one file, with trials and spike times, as `demo/retina_nwb.py` has made it."""
NWB_FILE = DATA / "nwb" / "phy_A8604-211122.nwb"

PIXELS = 31
CELLS = 6
BIN_S = 0.005
_BINS_TOGETHER = 3


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A stimulus and the spikes that followed, in bins of `BIN_S`.

    In the training recording `trial` counts segments, each with a stimulus of its own; in the held-out one it counts
    repeats of the same stimulus, of which there is then one.
    """

    stimulus: NDArray[np.float32]
    """Share of each bin in which each pixel was bright, 0 to 1: (trial, time, pixel), or (1, time, pixel) if repeated."""
    spikes: NDArray[np.float32]
    """Spikes in each bin: (trial, time, cell)."""


def load_training(*, segments: int = 25) -> Recording:
    """Load the first `segments` of 50 segments of 36 s, no stimulus shown twice: (segments, 7200, 31), (segments, 7200, 6).

    The 15 minutes of the default teach a small student as much as all 30 do, in half the memory.
    """
    whole = _recording(RETINA_FILES[0], stimulus="stimulus", spikes="spikes_train")
    return Recording(stimulus=whole.stimulus[:segments], spikes=whole.spikes[:segments])


def load_held_out() -> Recording:
    """Load one stimulus of 6.7 s that no student is fitted to, and 54 repeats: (1, 1333, 31) and (54, 1333, 6)."""
    return _recording(RETINA_FILES[1], stimulus="stimulus_test", spikes="spikes_test")


def _recording(path: Path, *, stimulus: str, spikes: str) -> Recording:
    """Read arrays that lie in the file as (pixel, 1, time[, trial]) and (cell, time, trial)."""
    arrays = cast("dict[str, NDArray[np.uint8]]", scipy.io.loadmat(path, variable_names=(stimulus, spikes)))
    pixels = arrays[stimulus][:, 0].reshape(PIXELS, -1, 1 if arrays[stimulus].ndim == 3 else arrays[stimulus].shape[-1])
    return Recording(
        stimulus=_in_bins(pixels) / np.float32(_BINS_TOGETHER),
        spikes=_in_bins(arrays[spikes]),
    )


def _in_bins(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Add up groups of bins, dropping an incomplete last one: (channel, time, trial) to (trial, bin, channel)."""
    channels, time, trials = array.shape
    bins = time // _BINS_TOGETHER
    grouped = array[:, : bins * _BINS_TOGETHER].reshape(channels, bins, _BINS_TOGETHER, trials)
    return np.ascontiguousarray(grouped.sum(axis=2, dtype=np.float32).transpose(2, 1, 0))
