"""Students written as ONNX graphs, node by node: the same weights give the same bytes, and every name is chosen here.

Opset 17, IR version 8. A student takes one bin a call; the first axis of every input and output is the free axis `minds`.
Operators and the places of weights are such that students of one architecture can run as one network: weights stand right of
products, and no weights are joined to what is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engram_format.errors import InvalidInput

OPSET: Final = 17
IR_VERSION: Final = 8
MINDS: Final = "minds"
"""The symbol of the free axis in front."""
FLOOR: Final = 1e-6
"""Counts per bin that a rate has at least, so that its logarithm is one."""

F32 = NDArray[np.float32]


class Graph:
    """A student's graph in the making; names are given by the caller and used once."""

    def __init__(self, name: str, *, doc: str = "") -> None:
        self._name = name
        self._doc = doc
        self._nodes: list[onnx.NodeProto] = []
        self._held: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def take(self, name: str, *shape: int, doc: str = "") -> str:
        """Add an input of float32 (minds, *shape); return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [MINDS, *shape], doc))
        return name

    def give(self, name: str, *shape: int, doc: str = "") -> str:
        """Let the value `name` be an output of float32 (minds, *shape); return its name."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [MINDS, *shape], doc))
        return name

    def hold(self, name: str, weights: NDArray[Any] | float) -> str:
        """Keep weights, as float32, under a name; return it."""
        array = np.array(weights, np.float32, order="C", ndmin=0)
        self._held.append(numpy_helper.from_array(array, name))
        return name

    def whole(self, name: str, *numbers: int) -> str:
        """Keep whole numbers, such as axes, under a name; return it."""
        self._held.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Add a node with one output; return the output's name."""
        self.add_several(operator, inputs, [output], **attributes)
        return output

    def add_several(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object) -> None:
        """Add a node with several outputs, "" for one that nobody uses."""
        node = helper.make_node(operator, list(inputs), list(outputs))
        # One by one, in the order of their names: the order in which a keyword is passed must not show in the bytes.
        node.attribute.extend(helper.make_attribute(name, attributes[name]) for name in sorted(attributes))
        self._nodes.append(node)

    def dense(self, name: str, value: str, weights: F32, bias: F32) -> str:
        """Add `value @ weights + bias`, weights (input, output), under `name`."""
        return self.add("Gemm", [value, self.hold(f"{name}.weight", weights), self.hold(f"{name}.bias", bias)], name)

    def silu(self, name: str, value: str) -> str:
        """Add `value * sigmoid(value)` under `name`."""
        return self.add("Mul", [value, self.add("Sigmoid", [value], f"{name}.gate")], name)

    def gru(self, name: str, value: str, state: str, after: str, weights: GruWeights) -> str:
        """Add one step of a gated recurrent unit: `state` (minds, hidden) becomes `after`, the name that is returned."""
        front = self.whole(f"{name}.front", 0)
        inputs = [
            self.add("Unsqueeze", [value, front], f"{name}.step"),
            self.hold(f"{name}.input", weights.input[np.newaxis]),
            self.hold(f"{name}.recurrent", weights.recurrent[np.newaxis]),
            self.hold(f"{name}.bias", weights.bias[np.newaxis]),
            "",
            self.add("Unsqueeze", [state, front], f"{name}.before"),
        ]
        self.add_several("GRU", inputs, ["", f"{name}.after"], hidden_size=weights.hidden, linear_before_reset=1)
        return self.add("Squeeze", [f"{name}.after", front], after)

    def finish(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Return the student as bytes, checked; `metadata` are kept inside the network."""
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, initializer=self._held)
        model = helper.make_model(
            graph, producer_name="engram", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        model.doc_string = self._doc
        helper.set_model_props(model, dict(sorted((metadata or {}).items())))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


@dataclass(frozen=True, slots=True, eq=False)
class GruWeights:
    """The weights of a gated recurrent unit as the ONNX operator has them: gates in the order update, reset, new."""

    input: F32
    """(3 x hidden, input)."""
    recurrent: F32
    """(3 x hidden, hidden)."""
    bias: F32
    """(6 x hidden,): that of the input, then that of the state."""

    @property
    def hidden(self) -> int:
        """How many units there are."""
        return int(self.recurrent.shape[1])

    @classmethod
    def from_torch(cls, input: F32, recurrent: F32, input_bias: F32, recurrent_bias: F32) -> GruWeights:  # noqa: A002
        """Take weights in torch's order of gates: reset, update, new."""
        return cls(
            input=_turned(input),
            recurrent=_turned(recurrent),
            bias=np.concatenate([_turned(input_bias), _turned(recurrent_bias)]),
        )

    def to_torch(self) -> tuple[F32, F32, F32, F32]:
        """Return input, recurrent, input bias and recurrent bias in torch's order of gates."""
        input_bias, recurrent_bias = np.split(self.bias, 2)
        return _turned(self.input), _turned(self.recurrent), _turned(input_bias), _turned(recurrent_bias)


def _turned(gates: F32) -> F32:
    """Exchange the first two of three gates, which is its own inverse."""
    first, second, third = np.split(gates, 3, axis=0)
    return np.concatenate([second, first, third], axis=0)


def weights_of(network: bytes) -> dict[str, NDArray[Any]]:
    """Return the weights and whole numbers that a network holds, by name; raises `InvalidInput` for bytes that are no network."""
    try:
        model = onnx.load_model_from_string(network)
        return {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    except Exception as error:  # protobuf's and numpy's, whichever finds it first
        raise InvalidInput(f"this is no ONNX network ({type(error).__name__}): name a student") from error
