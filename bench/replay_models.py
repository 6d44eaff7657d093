"""The students that the replay benchmarks run, with random weights.

    python bench/replay_models.py FOLDER

writes `gru.onnx` (64 channels, 256 units, 64 responses, 1.06 MB) and `gru_small.onnx` (64, 64, 64): `x` (time, minds, 64) and
`h0` (1, minds, units) in, `y` (time, minds, 64) and `h1` (1, minds, units) out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engram_fidelity.distill.basis import Scale
from engram_fidelity.distill.gru import Recurrent, first_weights

CHANNELS = 64
SIZES = {"gru": 256, "gru_small": 64}
"""The students that are written, and their units."""

_Array = NDArray[np.float32]


def gru(seed: int, units: int) -> onnx.ModelProto:
    """Return a recurrent student: one layer of gated units, read out linearly."""
    draw = _Weights(seed)
    nodes = [
        helper.make_node(
            "GRU", ["x", "W", "R", "b", "", "h0"], ["states", "h1"], hidden_size=units, linear_before_reset=1
        ),
        helper.make_node("Squeeze", ["states", "direction"], ["state"]),
        helper.make_node("MatMul", ["state", "readout"], ["unbiased"]),
        helper.make_node("Add", ["unbiased", "offset"], ["y"]),
    ]
    held = {
        "W": draw((1, 3 * units, CHANNELS), CHANNELS),
        "R": draw((1, 3 * units, units), units),
        "b": draw((1, 6 * units), 100),
        "direction": np.array([1]),
        "readout": draw((units, CHANNELS), units),
        "offset": draw((CHANNELS,), 100),
    }
    return _student(nodes, held, time=["time"], state=[1], units=units)


def reservoir(seed: int, units: int, *, base: int | None = None, delta_rank: int = 0) -> onnx.ModelProto:
    """Return an echo-state student written step by step: `h1` = tanh(`x` U + `h0` W), `y` = `h1` V + b.

    With `base`, U and W are drawn from that seed, so that students of one base differ in their readout, and with `delta_rank`
    also in two thin matrices A and B, of which `h0` A B is added.
    """
    draw, shared = _Weights(seed), _Weights(seed if base is None else base)
    held = {
        "U": shared((CHANNELS, units), CHANNELS),
        "W": shared((units, units), units),
        "V": draw((units, CHANNELS), units),
        "b": draw((CHANNELS,), 100),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "U"], ["driven"]),
        helper.make_node("MatMul", ["h0", "W"], ["recurrent"]),
        helper.make_node("Add", ["driven", "recurrent"], ["common"]),
    ]
    if delta_rank:
        held |= {"A": draw((units, delta_rank), units), "B": draw((delta_rank, units), 10 * units)}
        nodes += [
            helper.make_node("MatMul", ["h0", "A"], ["thin"]),
            helper.make_node("MatMul", ["thin", "B"], ["delta"]),
            helper.make_node("Add", ["common", "delta"], ["summed"]),
        ]
    nodes += [
        helper.make_node("Tanh", ["summed" if delta_rank else "common"], ["h1"]),
        helper.make_node("MatMul", ["h1", "V"], ["unbiased"]),
        helper.make_node("Add", ["unbiased", "b"], ["y"]),
    ]
    return _student(nodes, held, time=[], state=[], units=units)


class _Weights:
    """Normal numbers from a seed, scaled to what a unit sums over."""

    def __init__(self, seed: int) -> None:
        self._chance = np.random.default_rng(seed)

    def __call__(self, shape: tuple[int, ...], summed: int) -> _Array:
        return np.asarray(self._chance.standard_normal(shape) / np.sqrt(summed), np.float32)


def cohort(seed: int, *, rank: int) -> onnx.ModelProto:
    """Make a student of the retina's size as `engram distill --share` does: one base for all seeds, what is its own drawn."""
    scale = Scale(np.zeros(31, np.float32), np.ones(31, np.float32))
    weights = first_weights(np.random.default_rng(0), channels=31, hidden=64, cells=6)
    own = np.random.default_rng(seed + 1)
    weights["outer"] = own.standard_normal((64, 6), np.float32) / 8
    for name, width in (("channel", 31), ("hidden", 64)) if rank else ():
        weights[f"{name}_down"] = own.standard_normal((width, rank), np.float32) / 8
        weights[f"{name}_up"] = own.standard_normal((rank, 64), np.float32) / 8
    return onnx.load_model_from_string(Recurrent(scale, weights).to_onnx())


def _student(
    nodes: list[onnx.NodeProto],
    held: Mapping[str, NDArray[np.generic]],
    *,
    time: list[str],
    state: list[int],
    units: int,
) -> onnx.ModelProto:
    values: dict[str, list[str | int | None]] = {
        "x": [*time, "minds", CHANNELS],
        "h0": [*state, "minds", units],
        "y": [*time, "minds", CHANNELS],
        "h1": [*state, "minds", units],
    }
    x, h0, y, h1 = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items())
    tensors = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "student", [x, h0], [y, h1], initializer=tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def write_students(folder: Path) -> dict[str, Path]:
    """Write the students of `SIZES` into a folder; return their paths."""
    paths = {name: folder / f"{name}.onnx" for name in SIZES}
    for seed, (name, path) in enumerate(paths.items()):
        onnx.save_model(gru(seed, SIZES[name]), path)
    return paths


def main() -> None:
    """Write the students and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for path in write_students(folder).values():
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
