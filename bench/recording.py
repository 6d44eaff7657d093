"""A generated recording: 64 channels of int16 at 30 kHz, with the spectrum and the levels of extracellular ones.

Each channel has white noise of the amplifier (sd 5 LSB), a slow field shared by all channels (first-order autoregressive, about
5 Hz, sd 40 LSB) and spikes of 1 ms at 5 per second. Samples lie time-major, all channels of one moment side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHANNELS = 64
RATE_HZ = 30_000
_FIELD_POLE = np.exp(-2 * np.pi * 5 / RATE_HZ)
_SPIKE_SAMPLES = 30
_SPIKES_PER_S = 5


def seconds(count: int, *, seed: int = 0) -> Iterator[NDArray[np.int16]]:
    """Yield a recording second by second: (30000, 64) in LSB."""
    chance = np.random.default_rng(seed)
    field = 0.0
    spike = -120 * np.hanning(_SPIKE_SAMPLES) * np.cos(np.linspace(0, 2 * np.pi, _SPIKE_SAMPLES))
    gains = chance.uniform(0.6, 1.4, CHANNELS)
    for _ in range(count):
        steps = chance.normal(0, 40 * np.sqrt(1 - _FIELD_POLE**2), RATE_HZ)
        shared = np.empty(RATE_HZ)
        for sample, step in enumerate(steps):
            field = _FIELD_POLE * field + step
            shared[sample] = field
        block = chance.normal(0, 5, (RATE_HZ, CHANNELS)) + shared[:, None] * gains
        for channel in range(CHANNELS):
            for start in chance.integers(0, RATE_HZ - _SPIKE_SAMPLES, _SPIKES_PER_S):
                block[start : start + _SPIKE_SAMPLES, channel] += spike
        yield np.round(block).astype(np.int16)


def write(path: Path, *, megabytes: int, seed: int = 0) -> int:
    """Write a recording of about that many megabytes (10^6 bytes); return its exact size in bytes."""
    with path.open("wb") as file:
        for block in seconds(round(megabytes * 1e6 / (2 * CHANNELS * RATE_HZ)), seed=seed):
            file.write(block.tobytes())
    return path.stat().st_size
