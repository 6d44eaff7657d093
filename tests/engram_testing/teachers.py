"""A small teacher as a deposited student, and recordings of what it would answer: networks whose truth is known."""

from __future__ import annotations

import functools
import io

import numpy as np

from engram_fidelity.donors import PatternTeacher, deployed_patterns
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.extract import Extracted, History, extract
from engram_fidelity.extract.network import as_student

BIN_S = 0.005
CHANNELS, CELLS, BINS = 6, 4, 400


@functools.cache
def learned(*, seed: int = 1, lags: int = 1) -> Extracted:
    """Make a network of pattern teachers' answers; with `lags` it has a state."""
    teacher = PatternTeacher.make(seed, electrodes=CHANNELS, units=12, recording=CELLS)
    pool = deployed_patterns(120 * 4, channels=CHANNELS, seed=seed).reshape(120, 4, CHANNELS)
    history = History.none() if lags == 1 else History.bumps(lags, 3)
    return extract(teacher, pool, queries=100, history=history, seed=seed, updates=150)


@functools.cache
def student(*, seed: int = 1, lags: int = 1):
    """Return the network as a distilled student: network and contract."""
    shown = np.zeros((1, CHANNELS), np.float32)
    like = Experiment(
        (Trials("any", shown, np.zeros((1, 1, CELLS), np.uint8)),),
        BIN_S,
        tuple(map(str, range(CHANNELS))),
        tuple(map(str, range(CELLS))),
    )
    return as_student(learned(seed=seed, lags=lags), like, metadata={})


def recording(*, trials: int, rate: float = 1.0, seed: int = 0, silent: bool = False) -> bytes:
    """Return a `.npz` recording of Poisson answers with the student's own rates, times `rate`, each stimulus shown once."""
    rng = np.random.default_rng(seed)
    stimulus = deployed_patterns(trials * BINS, channels=CHANNELS, seed=100 + seed).reshape(trials, BINS, CHANNELS)
    expected = learned().expected(stimulus.reshape(-1, CHANNELS)).reshape(trials, BINS, CELLS)
    counts = np.minimum(rng.poisson(0 if silent else rate * expected, expected.shape), 255).astype(np.uint8)
    held = io.BytesIO()
    np.savez(held, stimulus=stimulus, counts=counts, bin_s=BIN_S, stimulus_id=np.arange(trials))
    return held.getvalue()
