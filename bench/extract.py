"""Extraction: how many queries a policy needs for what random queries reach.

    python bench/extract.py [--teachers 6] [--queries 400] [--policy NAME]...

Simulated teachers of 16 electrodes, 40 threshold units and 12 recording electrodes with Poisson counts; a pool of 1,500 patterns of
the deployment distribution, batches of 40, an ensemble of five. Correlation is between expected and true rates over 2,000 other
patterns of the deployment, the mean over recording electrodes; KL is Poisson's, in bits per spike. `needs` is the number of queries
for the correlation that random queries reach after so many, as a share of that many, interpolated on curves averaged over teachers.
One in ten queries is held out by every policy. One thread.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.donors import PatternTeacher, deployed_patterns
from engram_fidelity.extract import Ensemble, Policy, extract
from engram_fidelity.transfer import kl_per_spike

POOL, JUDGED = 1500, 2000


def course(seed: int, policy: Policy, queries: int) -> NDArray[np.float64]:
    """Return queries, correlation and KL after each batch: (batch, 3)."""
    teacher = PatternTeacher.make(seed)
    pool, deployed = deployed_patterns(POOL, seed=seed)[:, None], deployed_patterns(JUDGED, seed=10_000 + seed)
    truth = teacher.expected(deployed).astype(np.float64)
    rows: list[tuple[float, float, float]] = []

    def judge(asked: int, ensemble: Ensemble) -> None:
        found = ensemble.expected(deployed.astype(np.float64))
        correlation = np.mean([np.corrcoef(found[:, cell], truth[:, cell])[0, 1] for cell in range(truth.shape[1])])
        rows.append((asked, float(correlation), kl_per_spike(truth, found)))

    extract(teacher, pool, queries=queries, policy=policy, seed=seed, told=judge)
    return np.array(rows)


def needs(curve: NDArray[np.float64], plain: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Return for each number of random queries the share of it that the policy needs for the same correlation."""
    risen = np.maximum.accumulate(curve[:, 1])
    found = [
        (asked, np.interp(reached, risen, curve[:, 0]) / asked) for asked, reached, _ in plain if reached > risen[0]
    ]
    return [(int(asked), float(share)) for asked, share in found]


def main() -> None:
    """Print the curves, averaged over teachers, and what each policy needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=int, default=6)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--policy", action="append", type=Policy)
    given = parser.parse_args()
    curves: dict[Policy, NDArray[np.float64]] = {}
    for policy in (Policy.RANDOM, *(given.policy or (Policy.MIX, Policy.BALD, Policy.DISAGREE))):
        start = time.perf_counter()
        curves[policy] = np.mean([course(seed, policy, given.queries) for seed in range(given.teachers)], axis=0)
        seconds = (time.perf_counter() - start) / given.teachers
        line = "  ".join(f"{asked:.0f}: {reached:.3f} {apart:.3f}" for asked, reached, apart in curves[policy])
        print(f"{policy:9} r, KL after  {line}   ({seconds:.1f} s a teacher)", flush=True)
    for policy in list(curves)[1:]:
        shares = needs(curves[policy], curves[Policy.RANDOM])
        late = [share for asked, share in shares if asked >= 120]
        each = "  ".join(f"{asked}: {share:.2f}" for asked, share in shares)
        print(f"{policy:9} needs of random  {each}   mean from 120 on {np.mean(late):.2f}")


if __name__ == "__main__":
    main()
