"""Students of the retina that draw their own spikes: trained, run freely, and compared with 54 repeats that they never saw.

    python bench/spiking.py [--seeds 1,2,3] [--updates 1500] [--save FOLDER]

Trains on the 50 segments that were shown once, 45 to learn and 5 to validate, on one thread, and prints for each seed what free
runs of the held-out stimulus come to. Bins are 5 ms in everything that is printed; training sees the recording's own 1/600 s.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.io
from numpy.typing import NDArray

from engram_client.demo.retina import RETINA_FILES
from engram_fidelity.distill.renewal import Spiking, drive_of, free_run
from engram_fidelity.distill.spiking import TOGETHER, deposited, train_spiking
from engram_fidelity.distill.split import Split, split
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.metrics.correlation import cc, rebin
from engram_fidelity.metrics.variability import fano, noise_correlations, pairwise
from engram_fidelity.twosample import c2st

SUB_STEP_S = 1 / 600
BIN_S = SUB_STEP_S * TOGETHER
SCORE_FROM = round(0.36 / BIN_S)
"""The first bin that is scored: 360 ms."""
MANY = 256
"""Free runs over which the expectation is averaged; the other figures are of as many runs as there are repeats."""


def retina() -> Experiment:
    """Return the recording in its own bins of 1/600 s: 50 stimuli shown once, one shown 54 times."""
    once = _arrays(RETINA_FILES[0], "stimulus", "spikes_train")
    repeated = _arrays(RETINA_FILES[1], "stimulus_test", "spikes_test")
    shown, fired = once["stimulus"][:, 0], once["spikes_train"]
    trials = [
        Trials(
            f"bars {segment}", _by_time(shown[..., segment]), _by_time(fired[..., segment])[np.newaxis].astype(np.uint8)
        )
        for segment in range(fired.shape[2])
    ]
    counts = np.ascontiguousarray(repeated["spikes_test"].transpose(2, 1, 0))
    trials.append(Trials("repeated bars", _by_time(repeated["stimulus_test"][:, 0]), counts))
    names = tuple(f"pixel {number}" for number in range(shown.shape[0]))
    return Experiment(tuple(trials), SUB_STEP_S, names, tuple(f"cell {number}" for number in range(len(fired))))


def _arrays(path: Path, *names: str) -> dict[str, NDArray[np.uint8]]:
    return cast("dict[str, NDArray[np.uint8]]", scipy.io.loadmat(path, variable_names=names))


def _by_time(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array.T, np.float32)


def compared(weights: Spiking, parts: Split, *, seed: int) -> dict[str, Any]:
    """Compare as many free runs as there are repeats with the held-out repeats."""
    assert parts.held_out is not None
    (held_out,) = parts.held_out.trials
    bins = held_out.bins // TOGETHER
    shown = held_out.stimulus[: bins * TOGETHER].reshape(bins, TOGETHER, -1).mean(axis=1)
    real = held_out.counts[:, : bins * TOGETHER].reshape(held_out.repeats, bins, TOGETHER, -1).sum(axis=2)
    random = np.random.default_rng([seed, 1])
    drive = drive_of(weights, shown)
    _, free = free_run(weights, drive, random.random((bins, held_out.repeats, weights.noise), np.float32))
    mean, _ = free_run(weights, drive, random.random((bins, MANY, weights.noise), np.float32))
    real = np.random.default_rng(5).permutation(real)[:, SCORE_FROM:]
    free = free[:, SCORE_FROM:]
    real_20, free_20 = rebin(real, 4, 1), rebin(free, 4, 1).mean(axis=0)
    by_cell = [cc(real_20[..., cell], free_20[..., cell]).cc_norm for cell in range(weights.cells)]
    mean_20 = rebin(mean.mean(axis=0)[SCORE_FROM:], 4, 0)
    of_mean = [cc(real_20[..., cell], mean_20[..., cell]).cc_norm for cell in range(weights.cells)]
    # Of other runs than those that are judged: a discriminator that knew their own mean would know them by it.
    expected = mean.mean(axis=0)[SCORE_FROM:]
    auc = {
        kind: c2st(real, free, bin_s=BIN_S, classifier=kind, expected=expected, draws=10).auc
        for kind in ("logistic", "boosted")
    }
    return {
        "cc_norm_20ms": float(np.mean(by_cell)),
        "worst_cell": float(np.min(by_cell)),
        f"cc_norm_20ms_of_{MANY}_runs": float(np.mean(of_mean)),
        "fano_100ms": [fano(side, 20).value for side in (real, free)],
        "noise_correlation_100ms": [float(pairwise(noise_correlations(side, 20)).mean()) for side in (real, free)],
        "auc": auc,
        "rate_free_to_real": (free.mean(axis=(0, 1)) / real.mean(axis=(0, 1))).round(3).tolist(),
    }


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--updates", type=int)
    parser.add_argument("--save", type=Path, help="a folder for the students")
    given = parser.parse_args()
    experiment = retina()
    for seed in (int(one) for one in given.seeds.split(",")):
        parts = split(experiment, seed)
        began, began_cpu = time.perf_counter(), time.process_time()
        trained = train_spiking(
            parts,
            seed=seed,
            updates=given.updates,
            progress=lambda made, total, loss: print(f"  {made} of {total}: {1000 * loss:.3f}", flush=True),
        )
        took = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}
        if given.save:
            (given.save / f"spiking-{seed}.onnx").write_bytes(deposited(trained).network)
        line = {"seed": seed, **took, "updates": trained.updates, "left_out": trained.left_out}
        line |= {"loss": trained.loss, **compared(trained.weights, parts, seed=seed)}
        print(json.dumps(line, default=float), flush=True)


if __name__ == "__main__":
    main()
