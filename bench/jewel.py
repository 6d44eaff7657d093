"""The jewel: how soon it switches to what is the same, how often to what is not, and how soon it reverts.

    python bench/jewel.py [--seeds 200] [--only NAME]...

- `retina`: 54 repeats of a real retina's answer (real_against_real). 13 play the network and 39 the student, three draws each, no
  answer used twice; a seed deals them. `halves`: 27 against 27, one draw. `retina-5%`: the student's part with a spike in twenty
  taken out. The three presentations (189 pairs) of burn-in
  are not counted among judged pairs.
- `same`: a simulated donor of 12 cells at 20 Hz (0.39 of Poisson's variance), and itself as the student, 8 draws.
- `more-5%`, `fewer-5%`: all its rates off by 5 %, nothing else; 60 presentations, 3,780 pairs. `learned-5%`:
  5 % more, with gains learned first.
- `drift`: the donor's rates rise by 20 % in the middle of the run, after switching.

alpha 0.05, eps 0.05, rate_eps 0.05 (or two standard deviations of the network's own scatter). One thread.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engram_client.demo.retina import BIN_S, load_held_out
from engram_fidelity.donors import Drift, RenewalDonor, flicker
from engram_fidelity.experiment import Experiment, Trials
from engram_fidelity.jewel import Calibration, Learner, Replayed, Rules, Run, State, living, recorded, run

PRESENTATION = 1333


def retina(seed: int, *, draws: int, kept: float = 1.0) -> Run:
    """Let one part of the retina's repeats stand for the network, and another for its student."""
    held_out = load_held_out()
    counts, rng = held_out.spikes.astype(np.uint8), np.random.default_rng(seed)
    order, network = rng.permutation(len(counts)), len(counts) // (draws + 1)
    student = counts[order[network : network * (draws + 1)]]
    if kept < 1:
        student = rng.binomial(student, kept).astype(np.uint8)
    stimulus = held_out.stimulus[0]
    return run(
        recorded(_experiment(stimulus, counts[order[:network]])),
        Replayed.of(_experiment(stimulus, student)),
        rules=Rules(draws=draws, seed=seed),
        bin_s=BIN_S,
    )


def _experiment(stimulus: NDArray[np.float32], counts: NDArray[np.uint8]) -> Experiment:
    names = tuple(map(str, range(stimulus.shape[1]))), tuple(map(str, range(counts.shape[2])))
    return Experiment((Trials("repeated", stimulus, counts),), BIN_S, *names)


def donor(
    seed: int, *, presentations: int, rate: float = 0.0, drift: float = 0.0, learner: Learner | None = None
) -> Run:
    """Let a simulated donor be judged against itself, or against itself at another rate; or let it drift half-way."""
    real = RenewalDonor.make(seed)
    student = real.perturbed(rate=rate) if rate else real
    if drift:
        real = real.drifting(Drift(PRESENTATION * BIN_S * presentations / 2, 1 + drift))
    shown = ((f"flicker {number}", flicker(PRESENTATION, seed=1000 * seed + number)) for number in range(presentations))
    return run(
        living(real, shown, bin_s=BIN_S, seed=seed), student, rules=Rules(seed=seed), bin_s=BIN_S, learner=learner
    )


CASES: dict[str, Callable[[int], Run]] = {
    "retina": lambda seed: retina(seed, draws=3),
    "halves": lambda seed: retina(seed, draws=1),
    "retina-5%": lambda seed: retina(seed, draws=3, kept=0.95),
    "same": lambda seed: donor(seed, presentations=14),
    "more-5%": lambda seed: donor(seed, presentations=60, rate=0.05),
    "fewer-5%": lambda seed: donor(seed, presentations=60, rate=-0.05),
    "learned-5%": lambda seed: donor(seed, presentations=24, rate=0.05, learner=Calibration()),
    "drift": lambda seed: donor(seed, presentations=60, drift=0.2),
}


def main() -> None:
    """Run every case over its seeds and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", action="append", choices=CASES)
    given = parser.parse_args()
    print(
        f"{'case':12} seeds  switched  within 600  median at  thrown out  reverted  2AFC            margin  design  seconds"
    )
    for name in given.only or CASES:
        start = time.perf_counter()
        runs = [CASES[name](seed) for seed in range(given.seeds)]
        _tell(name, runs, (time.perf_counter() - start) / len(runs))


def _tell(name: str, runs: list[Run], seconds: float) -> None:
    at = np.array([np.inf if one.switched_at is None else one.switched_at for one in runs])
    reverted = np.mean([one.state == State.REVERTED for one in runs])
    # Thrown out by the guard before any switch.
    out = np.mean([any(change.after == State.LEARNING for change in one.transitions) for one in runs])
    afc = np.nanmean([list(one.two_afc.values()) for one in runs], axis=0)
    last = [one.transitions[-1].numbers.get("windows.design_effect", np.nan) for one in runs if one.transitions]
    print(
        f"{name:12} {len(runs):5}  {np.isfinite(at).mean():8.3f}  {(at <= 600).mean():10.3f}  {np.median(at):9.0f}  {out:10.3f}"
        f"  {reverted:8.3f}  {' '.join(f'{value:.3f}' for value in afc):14}  {np.nanmedian([one.margin for one in runs]):6.3f}"
        f"  {np.nanmedian(last):6.2f}  {seconds:7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
