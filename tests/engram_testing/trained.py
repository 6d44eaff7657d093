"""Small NWB files of units, a stimulus and trials, whole or with something missing or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pynwb

FRAME_HZ = 50.0
SHOWN_S = 0.4
UNITS = 3
CHANNELS = 4


def stimulus(*, showings: Sequence[str] = ("a", "b", "a", "a")) -> np.ndarray:
    """Frames (time, channel) of showings one after the other; equal letters show the same."""
    frames = round(SHOWN_S * FRAME_HZ)
    return np.concatenate(
        [
            np.random.default_rng(ord(letter)).uniform(-1, 1, (frames, CHANNELS)).astype(np.float32)
            for letter in showings
        ]
    )


def spike_times(*, seed: int = 0, seconds: float = 1.6) -> list[np.ndarray]:
    """Times of each unit's spikes."""
    draw = np.random.default_rng(seed)
    return [np.sort(draw.uniform(0, seconds, count)) for count in (40, 0, 90)[:UNITS]]


def recording(
    path: Path,
    *,
    shown: np.ndarray | None = None,
    stimuli: Sequence[str] = ("movie",),
    ids: Sequence[str | int] | None = ("a", "b", "a", "a"),
    trials: bool = True,
    units: bool = True,
    starts: Sequence[float] = (0.0, 0.4, 0.8, 1.2),
    lasts_s: Sequence[float] = (SHOWN_S,) * 4,
    timestamps: bool = False,
    counts_hz: float | None = None,
    counts: np.ndarray | None = None,
) -> Path:
    """Write such a file."""
    content = pynwb.NWBFile(
        session_description="made for a test",
        identifier=path.stem,
        session_start_time=datetime(2026, 1, 31, tzinfo=UTC),
    )
    frames = stimulus() if shown is None else shown
    when = {"timestamps": np.arange(len(frames)) / FRAME_HZ} if timestamps else {"rate": FRAME_HZ}
    for name in stimuli:
        content.add_stimulus(pynwb.TimeSeries(name=name, data=frames, unit="V", conversion=0.5, **when))
    if trials:
        if ids is not None:
            content.add_trial_column("stimulus_id", "what was shown")
        for number, (start, lasts) in enumerate(zip(starts, lasts_s, strict=True)):
            content.add_trial(start, start + lasts, **({} if ids is None else {"stimulus_id": ids[number]}))
    if units:
        for unit, times in enumerate(spike_times()):
            content.add_unit(spike_times=times, id=10 + unit)
    if counts_hz is not None:
        content.add_acquisition(pynwb.TimeSeries(name="binned", data=counts, unit="counts", rate=counts_hz))
    with pynwb.NWBHDF5IO(path, "w") as sink:
        sink.write(content)
    return path
