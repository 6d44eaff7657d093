"""Certify one student of the retina, and say how long it takes: certificate, and report.

    python bench/certify.py [--rounds 3]

The student is a Poisson sampler of the smoothed mean of every other repeat, which answers at once, so that what is measured
is the certificate: 54 repeats of 6.3 s, six cells, bins of 5 ms, discriminators and controls included. To reach: at most 20 s.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
from measuring import machine, verdict
from numpy.typing import NDArray

from engram_client.demo.retina import BIN_S, CELLS, PIXELS, load_held_out, load_training
from engram_fidelity.certificate import Settings, Subject, examine
from engram_fidelity.experiment import Counts, Experiment, Stimulus, Trials
from engram_fidelity.report import draw

AT_MOST_S = 20.0
_SMOOTHING_BINS = 2
_TRAINING = 8


@dataclass(frozen=True)
class MeanSampler:
    """Answers the one stimulus that it knows with a mean, and scatter that is Poisson's."""

    mean: NDArray[np.float32]
    """(time, cell), counts per bin."""
    channels: int = PIXELS
    cells: int = CELLS

    @classmethod
    def of(cls, counts: NDArray[np.float32]) -> MeanSampler:
        """Smooth the mean of every other repeat (repeat, time, cell)."""
        reach = 3 * _SMOOTHING_BINS
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTHING_BINS) ** 2)
        kernel /= kernel.sum()
        columns = counts[::2].mean(axis=0).T
        return cls(np.stack([np.convolve(one, kernel, "same") for one in columns], axis=1).astype(np.float32))

    def expected(self, stimulus: Stimulus, *, seed: int) -> Stimulus:
        """Return the mean, whatever is asked."""
        return self.mean[: len(stimulus)]

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Draw counts around the mean."""
        rate = self.expected(stimulus, seed=seed)
        return np.random.default_rng(seed).poisson(rate, (repeats, *rate.shape)).astype(np.uint8)


def main() -> None:
    """Print seconds and what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="How often it is done; the median is told.")
    rounds = parser.parse_args().rounds
    held_out, training = load_held_out(), load_training(segments=_TRAINING)
    trials = (Trials("held-out", held_out.stimulus[0], held_out.spikes.astype(np.uint8)),)
    channels = tuple(str(number) for number in range(PIXELS))
    experiment = Experiment(trials, BIN_S, channels, tuple(str(number) for number in range(CELLS)))
    taught = tuple(
        Trials(f"segment-{number}", training.stimulus[number], training.spikes[[number]].astype(np.uint8))
        for number in range(_TRAINING)
    )
    student = MeanSampler.of(held_out.spikes)
    walls, cpus, reports = [], [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        found = examine(student, experiment, Settings(seed=1), subject=Subject(training=taught))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        begun = time.perf_counter()
        draw(found.certificate, found.evidence)
        reports.append(time.perf_counter() - begun)
    certificate = found.certificate
    print(machine())
    print(
        f"certificate: {verdict(statistics.median(walls), at_most=AT_MOST_S)} s, {statistics.median(cpus):.2f} s of processor"
    )
    print(f"report: {statistics.median(reports):.2f} s, {len(certificate.to_json())} bytes of certificate")
    print(f"grade {certificate.grade.letter}: {certificate.grade.reason}")
    for one in certificate.free_running.discriminators:
        print(f"AUC {one.classifier}: {one.auc.value:.3f}, network against itself {one.control.value:.3f}")


if __name__ == "__main__":
    main()
