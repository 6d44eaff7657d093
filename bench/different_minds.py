"""Many different minds: students of one architecture run one by one, as one stacked network, and on a shared base.

    python bench/different_minds.py [--seconds 0.5]

One step of one row for each mind, on one thread; thread time, so that neighbours count less; the forms take turns, and the
numbers are the medians of rounds. `one` is a single student's step. `x1` is how many times that the whole group takes, `gain` how
much faster than one by one. `taken` marks what `choose` says for the group. Nothing is measured that was not compared with the
students one by one before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import replay_models
from measuring import machine
from numpy.typing import NDArray

from engram_replay.execution import Form
from engram_replay.stacking import choose, shared_base, stack

COUNTS = (1, 4, 16, 64)
ROUNDS = 5
TOLERANCE = 1e-5

Group = Callable[[int], list[onnx.ModelProto]]
"""Returns as many students."""

_Array = NDArray[np.float32]
Way = Callable[[], Sequence[_Array]]
"""Takes one step of each mind; returns the responses, one a mind."""

KINDS: dict[str, Group] = {
    "GRU 64-64-64, all different": lambda count: [replay_models.gru(seed, 64) for seed in range(count)],
    "GRU 64-128-64, all different": lambda count: [replay_models.gru(seed, 128) for seed in range(count)],
    "GRU 64-256-64, all different": lambda count: [replay_models.gru(seed, 256) for seed in range(count)],
    "reservoir 64-128-64, all different": lambda count: [replay_models.reservoir(seed, 128) for seed in range(count)],
    "reservoir 64-512-64, all different": lambda count: [replay_models.reservoir(seed, 512) for seed in range(count)],
    "reservoir 64-512-64, one reservoir, own readouts": lambda count: [
        replay_models.reservoir(seed, 512, base=1000) for seed in range(count)
    ],
    "distilled GRU 31-64-6, one base, own readouts": lambda count: [
        replay_models.cohort(seed, rank=0) for seed in range(count)
    ],
    "distilled GRU 31-64-6, one base, own deltas of rank 4 and readouts": lambda count: [
        replay_models.cohort(seed, rank=4) for seed in range(count)
    ],
    "reservoir 64-512-64, one base, own deltas of rank 8 and readouts": lambda count: [
        replay_models.reservoir(seed, 512, base=1000, delta_rank=8) for seed in range(count)
    ],
}


def session(network: bytes) -> onnxruntime.InferenceSession:
    """Load a network as replays do: one thread, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def forms(students: Sequence[onnx.ModelProto]) -> dict[str, Way]:
    """Return the ways to take one step of all students, and of one."""
    alone = [session(student.SerializeToString()) for student in students]
    names = [value.name for value in alone[0].get_inputs()]
    chance = np.random.default_rng(7)
    shapes = [[length if isinstance(length, int) else 1 for length in value.shape] for value in alone[0].get_inputs()]
    feeds = [chance.standard_normal((len(students), *shape)).astype(np.float32) for shape in shapes]
    rows = [dict(zip(names, arrays, strict=True)) for arrays in zip(*feeds, strict=True)]
    together = dict(zip(names, feeds, strict=True))
    found: dict[str, Way] = {
        "one": lambda: alone[0].run(None, rows[0])[:1],
        "one by one": lambda: [one.run(None, row)[0] for one, row in zip(alone, rows, strict=True)],
    }
    if len(students) > 1:
        for name, network in (("stacked", stack(students)), ("shared", shared_base(students))):
            if network is not None:
                found[name] = _whole(session(network), together)
    return found


def _whole(loaded: onnxruntime.InferenceSession, feed: Mapping[str, _Array]) -> Way:
    return lambda: loaded.run(None, feed)[0]


def medians_us(ways: Mapping[str, Way], *, seconds: float) -> dict[str, float]:
    """Let the ways take turns; return the median of each one's thread time, in microseconds."""
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            spent: list[float] = []
            until = time.perf_counter() + seconds / ROUNDS
            while not spent or time.perf_counter() < until:
                begun = time.thread_time()
                way()
                spent.append(time.thread_time() - begun)
            rounds[name].append(statistics.median(spent))
    return {name: statistics.median(times) * 1e6 for name, times in rounds.items()}


def main() -> None:
    """Print a table for each kind of group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each form of each group")
    seconds = parser.parse_args().seconds
    print(machine())
    for kind, group in KINDS.items():
        print(f"\n{kind}")
        for count in COUNTS:
            students = group(count)
            ways = forms(students)
            expected = np.array(ways["one by one"]())
            for name in ways.keys() - {"one"}:
                error = float(np.abs(np.array(ways[name]()) - expected).max())
                if not error <= TOLERANCE:
                    raise SystemExit(f"{name} differs by {error:.1e} from the students one by one")
            taken = {Form.SOLO: "one by one", Form.STACKED: "stacked", Form.SHARED: "shared"}[choose(students).form]
            times = medians_us(ways, seconds=seconds)
            cells = [
                f"{name} {spent:8.0f} us x1 {spent / times['one']:6.1f} gain {times['one by one'] / spent:5.2f}"
                f"{' (taken)' if name == taken else '        '}"
                for name, spent in times.items()
                if name != "one"
            ]
            print(f"  {count:3} minds: one {times['one']:5.0f} us | {' | '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
