"""Small experiments with a known answer: a filter of the stimulus, a threshold, and Poisson counts."""

from __future__ import annotations

import numpy as np

from engram_fidelity.experiment import Experiment, Trials

CHANNELS = ("left", "middle", "right")
CELLS = ("on", "off")


def expected(stimulus):
    """Return what the cells are expected to do: the one likes the left channel, the other the drop of the right one."""
    left, right = (_smooth(stimulus[:, channel]) for channel in (0, 2))
    return (0.6 * np.stack([np.maximum(left - 0.5, 0), np.maximum(0.5 - right, 0)], axis=1) + 0.01).astype(np.float32)


def small_experiment(*, once=12, repeats=8, bins=400, seed=0, bin_s=0.005):
    """Return trials shown once, and one shown `repeats` times (none if 0)."""
    random = np.random.default_rng(seed)
    trials = []
    for number in range(once + (repeats > 0)):
        stimulus = np.repeat(random.random((bins // 8, 3)) < 0.5, 8, axis=0).astype(np.float32)
        shown = 1 if number < once else repeats
        counts = random.poisson(expected(stimulus), (shown, bins, 2)).astype(np.uint8)
        trials.append(Trials(f"movie-{number}" if number < once else "again", stimulus, counts))
    return Experiment(tuple(trials), bin_s, CHANNELS, CELLS, "1")


def stream(network, stimulus, *, minds=1):
    """Run a student bin by bin: (time, channel) to (time, mind, cell)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    state = np.zeros([minds, *session.get_inputs()[1].shape[1:]], np.float32)
    rates = []
    for now in stimulus:
        given = {"stimulus": np.repeat(now[np.newaxis], minds, axis=0), "state": state}
        rate, state = session.run(["rate", "state_out"], given)
        rates.append(rate)
    return np.stack(rates)


def _smooth(values):
    kernel = np.exp(-np.arange(20) / 5.0)
    return np.convolve(values, kernel / kernel.sum())[: len(values)]
