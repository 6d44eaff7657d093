"""The demonstration's student: a small network that learns what the retina answers, and is stepped as the retina lives.

For each bin of 5 ms it takes the stimulus and its own state, and gives the rate of each cell and the next state. The state is
a gamma memory (de Vries and Principe, 1992): ten leaky integrators in a row behind each pixel, each following the one before.
A hidden layer reads all of them, and a softplus makes rates. The weights minimise the Poisson loss of the spike counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engram_client.demo.retina import BIN_S, CELLS, PIXELS, Recording

F32 = NDArray[np.float32]
_ONE = np.float32(1)

TAPS = 10
FOLLOW = np.float32(0.125)
"""The share of the way to its predecessor that an integrator goes in one bin: 40 ms to follow, 400 ms through all."""
HIDDEN = 32

_STEPS = 1000
_BATCH = 1024
_LEARNING_RATE = 6e-3
_WARM_UP = 50
_DECAY = 0.1
_SPARSE = 64
"""Of so many bins one is looked at for the spread of each feature."""
_FLOOR = 1e-6
"""Spikes per bin below which the loss takes no rate."""


@dataclass(frozen=True, slots=True, eq=False)
class RetinaModel:
    """The weights of a student."""

    mean: F32
    """What the stimulus is on average, scalar; the state starts from it."""
    inner: F32
    """(tap and pixel, hidden)."""
    inner_bias: F32
    """(hidden,)."""
    outer: F32
    """(hidden, cell)."""
    outer_bias: F32
    """(cell,)."""

    def predict(self, stimulus: F32) -> F32:
        """Return the rate of each cell in spikes per second: (time, pixel) to (time, cell); the reference for the network."""
        memory = remember(stimulus[np.newaxis] - self.mean)[0]
        return _softplus(_silu(memory @ self.inner + self.inner_bias) @ self.outer + self.outer_bias) / np.float32(
            BIN_S
        )

    def to_onnx(self) -> bytes:
        """Return the student as an ONNX network with `stimulus` (1, 31) and `state`, `rate_hz` (1, 6) and `state_out`."""
        return _network(self).SerializeToString(deterministic=True)


def build_student(training: Recording, *, seed: int = 0) -> bytes:
    """Fit a student to a recording and return it as ONNX; the same recording and seed give the same bytes on one machine."""
    return fit(training, seed=seed).to_onnx()


def score(rate: F32, repeats: F32) -> NDArray[np.float64]:
    """Return how well a prediction follows a recording, for each cell: (time, cell) and (repeat, time, cell) to (cell,).

    Pearson's correlation, in bins of 5 ms, of the prediction with the mean of the repeats; 1 is out of reach, since that mean
    has noise of its own.
    """
    record = repeats.mean(axis=0, dtype=np.float64)
    record = record - record.mean(axis=0)
    predicted = rate.astype(np.float64) - rate.mean(axis=0, dtype=np.float64)
    power = (record**2).sum(axis=0) * (predicted**2).sum(axis=0)
    correlation: NDArray[np.float64] = (record * predicted).sum(axis=0) / np.sqrt(power)
    return correlation


def remember(stimulus: F32) -> F32:
    """Return the states after each bin, from a state of zeros: (trial, time, pixel) to (trial, time, tap and pixel)."""
    trials, time, pixels = stimulus.shape
    state = np.zeros((trials, TAPS, pixels), np.float32)
    states = np.empty((trials, time, TAPS, pixels), np.float32)
    for now in range(time):
        before = np.concatenate([stimulus[:, now, np.newaxis], state[:, :-1]], axis=1)
        state = state + FOLLOW * (before - state)
        states[:, now] = state
    return states.reshape(trials, time, TAPS * pixels)


def fit(training: Recording, *, seed: int = 0) -> RetinaModel:
    """Fit the weights by Adam (Kingma and Ba, 2015) on random bins, with a rate that rises and then falls as a cosine."""
    random = np.random.default_rng(seed)
    mean = np.asarray(training.stimulus.mean(dtype=np.float64), np.float32)
    memory = remember(training.stimulus - mean).reshape(-1, TAPS * PIXELS)
    counts = training.spikes.reshape(-1, CELLS)
    scale = np.reciprocal(memory[::_SPARSE].std(axis=0, dtype=np.float64)).astype(np.float32)
    weights = [
        random.standard_normal((TAPS * PIXELS, HIDDEN), np.float32) / np.float32(np.sqrt(TAPS * PIXELS)),
        np.zeros(HIDDEN, np.float32),
        random.standard_normal((HIDDEN, CELLS), np.float32) / 10,
        np.log(np.expm1(counts.mean(axis=0, dtype=np.float64))).astype(np.float32),
    ]
    slopes = [np.zeros_like(weight) for weight in weights]
    powers = [np.zeros_like(weight) for weight in weights]
    for step, pace in enumerate(_paces(), start=1):
        chosen = random.integers(0, len(memory), _BATCH)
        gradient = _gradient(weights, memory[chosen] * scale, counts[chosen])
        for weight, slope, power, grad in zip(weights, slopes, powers, gradient, strict=True):
            slope += 0.1 * (grad - slope)
            power += 0.01 * (grad**2 - power)
            if weight.ndim == 2:
                weight *= 1 - pace * _DECAY
            weight -= pace * (slope / (1 - 0.9**step)) / (np.sqrt(power / (1 - 0.99**step)) + 1e-8)
    inner, inner_bias, outer, outer_bias = weights
    return RetinaModel(mean, scale[:, np.newaxis] * inner, inner_bias, outer, outer_bias)


def _paces() -> Iterator[float]:
    for step in range(_STEPS):
        yield _LEARNING_RATE * min(1.0, (step + 1) / _WARM_UP) * (0.51 + 0.5 * float(np.cos(np.pi * step / _STEPS)))


def _gradient(weights: list[F32], memory: F32, counts: F32) -> list[F32]:
    """Return the gradient of the mean Poisson loss, `rate - count * log(rate)` added over cells, for each array of weights."""
    inner, inner_bias, outer, outer_bias = weights
    drive: F32 = memory @ inner + inner_bias
    gate = _sigmoid(drive)
    hidden: F32 = drive * gate
    output: F32 = hidden @ outer + outer_bias
    rate = _softplus(output) + np.float32(_FLOOR)
    by_output: F32 = (_ONE - counts / rate) * _sigmoid(output) / np.float32(len(memory))
    by_hidden: F32 = by_output @ outer.T
    by_drive = by_hidden * gate * (_ONE + drive * (_ONE - gate))
    return [memory.T @ by_drive, by_drive.sum(axis=0), hidden.T @ by_output, by_output.sum(axis=0)]


def _sigmoid(x: F32) -> F32:
    return np.reciprocal(_ONE + np.exp(-x))


def _silu(x: F32) -> F32:
    return x * _sigmoid(x)


def _softplus(x: F32) -> F32:
    return np.logaddexp(np.float32(0), x)


def _network(model: RetinaModel) -> onnx.ModelProto:
    """Write one step as a graph: the memory follows the stimulus, the layers read the memory."""
    node = helper.make_node
    nodes = [
        node("Sub", ["stimulus", "mean"], ["contrast"]),
        node("Unsqueeze", ["contrast", "tap_axis"], ["first"]),
        node("Slice", ["state", "from_first", "to_last", "tap_axis"], ["others"]),
        node("Concat", ["first", "others"], ["before"], axis=1),
        node("Sub", ["before", "state"], ["distance"]),
        node("Mul", ["distance", "follow"], ["step"]),
        node("Add", ["state", "step"], ["state_out"]),
        node("Flatten", ["state_out"], ["memory"], axis=1),
        node("MatMul", ["memory", "inner"], ["inner_sum"]),
        node("Add", ["inner_sum", "inner_bias"], ["drive"]),
        node("Sigmoid", ["drive"], ["gate"]),
        node("Mul", ["drive", "gate"], ["hidden"]),
        node("MatMul", ["hidden", "outer"], ["outer_sum"]),
        node("Add", ["outer_sum", "outer_bias"], ["output"]),
        node("Softplus", ["output"], ["count"]),
        node("Div", ["count", "bin_s"], ["rate_hz"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "mean": np.asarray(model.mean),
        "follow": np.asarray(FOLLOW),
        "tap_axis": np.array([1], np.int64),
        "from_first": np.array([0], np.int64),
        "to_last": np.array([TAPS - 1], np.int64),
        "inner": model.inner,
        "inner_bias": model.inner_bias,
        "outer": model.outer,
        "outer_bias": model.outer_bias,
        "bin_s": np.array(BIN_S, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "retina",
        inputs=[
            helper.make_tensor_value_info(
                "stimulus", TensorProto.FLOAT, [1, PIXELS], "brightness of each pixel, 0 to 1"
            ),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, TAPS, PIXELS]),
        ],
        outputs=[
            helper.make_tensor_value_info("rate_hz", TensorProto.FLOAT, [1, CELLS], "spikes per second of each cell"),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [1, TAPS, PIXELS]),
        ],
        initializer=[numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    network = helper.make_model(
        graph, producer_name="engram", opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    network.doc_string = "Six ganglion cells of a retina that watches moving bars; one call is one bin of 5 ms."
    helper.set_model_props(network, {"bin_s": str(BIN_S), "engram.state.state": "state_out"})
    return network
