"""A generated extracellular recording: 64 channels of int16 at 30 kHz, 0.195 uV per step, as common amplifiers deliver it.

Three sources are added, in microvolts. A band of 200 Hz to 7.5 kHz (sd 6), spread over neighbouring channels as distant spikes
are. A field that falls with frequency up to 300 Hz (sd 60), nearly the same on all channels. White noise of the amplifier
(sd 1.5). Upon these, 40 cells with spikes of 40 to 180 uV at 1 to 15 per second, each seen on a few channels.

What it compresses to follows from these levels: numbers from it belong beside numbers from real files.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

CHANNELS = 64
RATE_HZ = 30_000
STEP_UV = 0.195
_BLOCK_S = 2
_CELLS = 40
_SPIKE_SAMPLES = 60

Floats = NDArray[np.float32]


def recording(seconds: float, *, seed: int) -> NDArray[np.int16]:
    """Return (time, channel) in steps of `STEP_UV`."""
    samples = round(seconds * RATE_HZ)
    out = np.empty((samples, CHANNELS), np.int16)
    start = 0
    for block in _blocks(np.random.default_rng(seed)):
        part = out[start : start + len(block)]
        part[:] = block[: len(part)]
        start += len(part)
        if start == samples:
            return out
    raise AssertionError("the blocks have no end")


def _blocks(chance: np.random.Generator) -> Iterator[NDArray[np.int16]]:
    samples = _BLOCK_S * RATE_HZ
    frequency = fft.rfftfreq(samples, 1 / RATE_HZ)
    above_dc = np.maximum(frequency, 1e-3)
    band = (1 + (frequency / 7500) ** 8) ** -0.5 * (1 + (200 / above_dc) ** 4) ** -0.5
    slow = (frequency > 0.5) / np.maximum(frequency, 1) * (1 + (frequency / 300) ** 4) ** -0.5
    near, far = _spread(1.5), _spread(25)
    cells = _Cells(chance)
    while True:
        volts = near @ _coloured(chance, band, samples, sd_uv=6)
        volts += far @ _coloured(chance, slow, samples, sd_uv=60)
        volts += 1.5 * chance.standard_normal(volts.shape, np.float32)
        cells.add_spikes(volts)
        yield np.clip(np.rint(volts.T / STEP_UV), -32768, 32767).astype(np.int16)


def _coloured(chance: np.random.Generator, gain: NDArray[np.float64], samples: int, *, sd_uv: float) -> Floats:
    """Return (channel, time) of independent noise with the spectrum `gain`."""
    parts = chance.standard_normal((2, CHANNELS, len(gain)), np.float32)
    noise: Floats = fft.irfft((parts[0] + 1j * parts[1]) * gain.astype(np.float32), samples, workers=2)
    return noise * np.float32(sd_uv / noise.std())


def _spread(width: float) -> Floats:
    """Return (channel, channel): how far a source reaches, with equal power on all channels."""
    place = np.arange(CHANNELS)
    reach = np.exp(-(((place[:, None] - place) / width) ** 2))
    return (reach / np.sqrt((reach**2).sum(axis=1, keepdims=True))).astype(np.float32)


class _Cells:
    """Cells with a place, a strength, a rate and a waveform of their own."""

    def __init__(self, chance: np.random.Generator) -> None:
        self._chance = chance
        places, strengths_uv = chance.uniform(0, CHANNELS, _CELLS), chance.uniform(40, 180, _CELLS)
        self._rates_hz, widths = chance.uniform(1, 15, _CELLS), chance.uniform(0.8, 1.3, (_CELLS, 1))
        ms = np.arange(_SPIKE_SAMPLES) / RATE_HZ * 1000
        self._waves = 0.45 * np.exp(-(((ms - 1.0) / (0.25 * widths)) ** 2))
        self._waves -= np.exp(-(((ms - 0.6) / (0.12 * widths)) ** 2))
        self._seen_uv = strengths_uv[:, None] * np.exp(-(((np.arange(CHANNELS) - places[:, None]) / 2) ** 2))

    def add_spikes(self, volts: Floats) -> None:
        """Add the spikes of one block to (channel, time)."""
        samples = volts.shape[1]
        for wave, seen_uv, rate_hz in zip(self._waves, self._seen_uv, self._rates_hz, strict=True):
            channels = np.flatnonzero(seen_uv > 1)
            count = self._chance.poisson(rate_hz * samples / RATE_HZ)
            for start in self._chance.integers(0, samples - _SPIKE_SAMPLES, count):
                strength = self._chance.normal(1, 0.07) * seen_uv[channels, None]
                volts[channels, start : start + _SPIKE_SAMPLES] += strength * wave
