"""A network that is known, as a recording and as a student of it: what is certified through every door."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engram_fidelity.distill.outcome import as_text, rate_contract
from engram_fidelity.experiment import Experiment, Trials
from engram_replay.contract_file import parse_contract

CHANNELS, CELLS, BIN_S = 4, 3, 0.005


@dataclass(frozen=True)
class Memoryless:
    """Poisson cells whose rate is a curve of the bin's stimulus alone."""

    seed: int = 0
    wrong: float = 0.0
    """How far its weights are from those of the seed."""
    channels: int = CHANNELS
    cells: int = CELLS

    @property
    def weights(self):
        random = np.random.default_rng(self.seed)
        true = random.normal(0, 1.5, (self.channels, self.cells))
        return (true + self.wrong * np.random.default_rng(99).normal(0, 1.5, true.shape)).astype(np.float32)

    def expected(self, stimulus, *, seed=0):
        return (0.25 / (1 + np.exp(-(stimulus @ self.weights - 1)))).astype(np.float32)

    def sample(self, stimulus, *, repeats, seed):
        rate = self.expected(stimulus)
        return np.random.default_rng(seed).poisson(rate, (repeats, *rate.shape)).astype(np.uint8)

    def network(self) -> bytes:
        nodes = [
            helper.make_node("Gemm", ["stimulus", "weights", "bias"], ["drive"]),
            helper.make_node("Sigmoid", ["drive"], ["share"]),
            helper.make_node("Mul", ["share", "most"], ["rate"]),
        ]
        arrays = {"weights": self.weights, "bias": np.full(self.cells, -1, np.float32), "most": np.float32([0.25])}
        graph = helper.make_graph(
            nodes,
            "memoryless",
            [helper.make_tensor_value_info("stimulus", TensorProto.FLOAT, ["minds", self.channels])],
            [helper.make_tensor_value_info("rate", TensorProto.FLOAT, ["minds", self.cells])],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)


def experiment(network: Memoryless, *, repeats: int = 24, training: int = 6, bins: int = 1200) -> Experiment:
    """Return trials `0` to `training` - 1, shown once, and `held` and `other`, shown `repeats` times."""
    trials = []
    for number in range(training + 2):
        random = np.random.default_rng([7, number])
        steps = (random.random((bins // 8 + 1, network.channels)) < 0.5).astype(np.float32)
        stimulus = np.repeat(steps, 8, axis=0)[:bins]
        many = 1 if number < training else repeats
        trials.append(Trials(str(number), stimulus, network.sample(stimulus, repeats=many, seed=1000 + number)))
    return Experiment(
        tuple(trials),
        BIN_S,
        tuple(str(number) for number in range(network.channels)),
        tuple(str(number) for number in range(network.cells)),
    )


def as_npz(shown: Experiment) -> bytes:
    """Return an experiment as arrays that the archive reads it from."""
    rows = [(one.stimulus_id, one.stimulus, counts) for one in shown.trials for counts in one.counts]
    sink = io.BytesIO()
    np.savez(
        sink,
        stimulus=np.stack([stimulus for _, stimulus, _ in rows]),
        counts=np.stack([counts for *_, counts in rows]),
        bin_s=np.float64(shown.bin_s),
        stimulus_id=np.array([int(name) for name, *_ in rows]),
    )
    return sink.getvalue()


def told(shown: Experiment, *, training=(), validation=()) -> dict[str, object]:
    """Return the metadata of a student of an experiment, its contract included."""
    contract = parse_contract(json.dumps(rate_contract(shown, states=())), what="student.json")
    ids = {"distill.training": as_text(training), "distill.validation": as_text(validation)}
    return {**contract.to_metadata(), **(ids if training else {})}
