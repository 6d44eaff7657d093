"""Distilling: seconds, and likeness on the held-out repeats, for each tier and three seeds.

    python bench/distill.py [--tier fast] [--seed 1] [--updates N] [--target NAME]

The shipped recording of a retina (six cells, moving bars, 45 segments of 36 s to learn from, 54 repeats held out) in bins of 5 ms;
correlations in bins of 20 ms, bits per spike against each cell's mean in training, from 0.36 s on. One thread.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import time
from collections.abc import Iterator

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engram_client.demo.retina import BIN_S, load_held_out, load_training
from engram_fidelity.distill import distill
from engram_fidelity.distill.outcome import Distilled
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.metrics.correlation import cc_by_cell, rebin
from engram_fidelity.metrics.likelihood import bits_by_cell

SCORE_FROM_S = 0.36
COARSE = 4
TIERS = ("linear", "fast", "default")
SEEDS = (1, 2, 3)


def retina() -> Experiment:
    """Return the whole recording: segments shown once, and the repeated one."""
    training, held_out = load_training(segments=50), load_held_out()
    once = [
        Trials(f"segment-{number:02d}", stimulus, spikes[np.newaxis].astype(np.uint8))
        for number, (stimulus, spikes) in enumerate(zip(training.stimulus, training.spikes, strict=True))
    ]
    repeated = Trials("repeated", held_out.stimulus[0], held_out.spikes.astype(np.uint8))
    channels, cells = training.stimulus.shape[2], training.spikes.shape[2]
    return Experiment(
        trials=(*once, repeated),
        bin_s=BIN_S,
        channels=tuple(f"pixel {number}" for number in range(channels)),
        cells=tuple(f"cell {number}" for number in range(cells)),
        unit="1",
    )


def answers(network: bytes, stimulus: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a student bin by bin from a state of rest: (time, channel) to (time, cell)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    state = np.zeros([1, *session.get_inputs()[1].shape[1:]], np.float32)
    rates = []
    for now in stimulus:
        rate, state = session.run(["rate", "state_out"], {"stimulus": now[np.newaxis], "state": state})
        rates.append(rate[0])
    return np.stack(rates)


def scores(made: Distilled, experiment: Experiment) -> tuple[float, float, float]:
    """Return CC_norm at 20 ms, bits per spike, and the worst cell's CC_norm."""
    (held_out,) = experiment.repeated
    start = round(SCORE_FROM_S / experiment.bin_s)
    counts, rate = held_out.counts[:, start:], answers(made.network, held_out.stimulus)[start:]
    mean = np.mean([trials.counts.mean(axis=(0, 1)) for trials in experiment.once], axis=0)
    correlations = cc_by_cell(rebin(counts, COARSE, 1), rebin(rate, COARSE, 0)).cc_norm.values
    bits = bits_by_cell(counts, np.broadcast_to(rate, counts.shape), mean).values
    return float(np.mean(correlations)), float(np.mean(bits)), float(np.min(correlations))


def runs(
    experiment: Experiment, tier: str, seeds: tuple[int, ...], *, updates: int | None, target: str | None
) -> Iterator[tuple[float, ...]]:
    """Distil with each seed, print a row, and yield its numbers."""
    for seed in seeds:
        wall, processor = time.monotonic(), time.process_time()
        made = distill(experiment, tier=tier, seed=seed, updates=updates, target=target)
        row = (time.monotonic() - wall, time.process_time() - processor, *scores(made, experiment))
        said = made.metadata
        print(
            f"{tier:<8} {seed:>4}  {row[0]:>6.1f}  {row[1]:>6.1f}  {row[2]:>7.4f}  {row[3]:>6.4f}  {row[4]:>6.4f}  "
            f"{said['distill.updates']:>7}  {said['distill.loss.validation']:>7.5f}  {said['distill.parameters']:>10}",
            flush=True,
        )
        yield row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, action="append")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--updates", type=int)
    parser.add_argument("--target")
    given = parser.parse_args()
    experiment = retina()
    print("tier     seed  wall s   cpu s  CC_norm    bits   worst  updates     loss  parameters")
    for tier in given.tier or TIERS:
        seeds = tuple(given.seed or SEEDS)
        rows = list(runs(experiment, tier, seeds, updates=given.updates, target=given.target))
        mean = np.mean(rows, axis=0)
        print(
            f"{tier:<8} mean  {mean[0]:>6.1f}  {mean[1]:>6.1f}  {mean[2]:>7.4f}  {mean[3]:>6.4f}  {mean[4]:>6.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
