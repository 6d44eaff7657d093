"""What students have in common when only their weights differ.

The architecture of a network is its graph with the values of floating-point tensors left out: inputs and outputs by name, type
and shape, nodes in order with their attributes, and the shapes of weights. Names inside the graph do not count, since exporters
number them as they like; whole numbers do, since they are axes, lengths and shapes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from engram_format.errors import InvalidInput

Weights = NDArray[Any]
"""One tensor that a network holds, in the network's type and shape."""

Length = int | str | None
"""An axis as the network declares it: its length, its symbol, or `None` where it is free and has no symbol."""

FLOATING = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)
"""The types of weights; tensors of any other type belong to the graph."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network taken apart into its graph and its tensors."""

    digest: str
    """SHA-256 over the graph as the module says, 64 hex digits."""
    inputs: tuple[onnx.ValueInfoProto, ...]
    """What a caller gives: the graph's inputs without those that only name tensors of the network."""
    nodes: tuple[onnx.NodeProto, ...]
    """In the order of the graph; constants are not among them but among the tensors."""
    tensors: Mapping[str, onnx.TensorProto]
    """The tensors that the nodes use, by name, in the order of their first use: equal digests, equal order."""

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of the tensors whose values may differ between students."""
        return tuple(name for name, tensor in self.tensors.items() if tensor.data_type in FLOATING)


def read_architecture(model: onnx.ModelProto) -> Architecture:
    """Take a network apart; raises `InvalidInput` if it keeps tensors in other files."""
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        constant = _constant(node)
        if constant is None:
            nodes.append(node)
        else:
            held[node.output[0]] = constant
    used = dict.fromkeys(name for node in nodes for name in node.input if name in held)
    used |= dict.fromkeys(value.name for value in graph.output if value.name in held)
    tensors = {name: held[name] for name in used}
    for tensor in tensors.values():
        if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
            raise InvalidInput(
                f"tensor {tensor.name[:80]!r} lies in another file: save the network with its weights inside"
            )
    inputs = tuple(value for value in graph.input if value.name not in held)
    return Architecture(_digest(model, inputs, nodes, tensors), inputs, tuple(nodes), tensors)


def values_of(tensor: onnx.TensorProto) -> Weights:
    """Return a tensor's values; raises `InvalidInput` if they are not as many as its shape says."""
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"tensor {tensor.name[:80]!r} does not hold what its shape says: save the network again"
        ) from error


def lengths_of(value: onnx.ValueInfoProto) -> tuple[Length, ...] | None:
    """Return the axes of an input, an output or a value between, or `None` where their number is not known."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None
        for axis in value.type.tensor_type.shape.dim
    )


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the tensor that a `Constant` node makes, or `None` for any other node and for constants that are no numbers."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attribute) != 1:
        return None
    (attribute,) = node.attribute
    if attribute.name == "value":
        return attribute.t
    numbers: Mapping[str, tuple[object, type[np.generic]]] = {
        "value_float": (attribute.f, np.float32),
        "value_floats": (list(attribute.floats), np.float32),
        "value_int": (attribute.i, np.int64),
        "value_ints": (list(attribute.ints), np.int64),
    }
    if attribute.name not in numbers:
        return None
    value, dtype = numbers[attribute.name]
    return numpy_helper.from_array(np.array(value, dtype))


def _digest(
    model: onnx.ModelProto,
    inputs: Sequence[onnx.ValueInfoProto],
    nodes: Sequence[onnx.NodeProto],
    tensors: Mapping[str, onnx.TensorProto],
) -> str:
    numbers: dict[str, int] = {"": -1}

    def number(names: Sequence[str]) -> list[int]:
        return [numbers.setdefault(name, len(numbers)) for name in names]

    parts = [
        sorted([opset.domain.removeprefix("ai.onnx"), opset.version] for opset in model.opset_import),
        [[number([value.name]), _declared(value)] for value in inputs],
        [[number(node.input), number(node.output), list(_operation(node))] for node in nodes],
        [[number([name]), list(_kind(tensor))] for name, tensor in tensors.items()],
        [[number([value.name]), _declared(value)] for value in model.graph.output],
        [_sha256(function.SerializeToString(deterministic=True)) for function in model.functions],
    ]
    return _sha256(json.dumps(parts, separators=(",", ":")).encode())


def _declared(value: onnx.ValueInfoProto) -> list[object]:
    return [value.name, value.type.tensor_type.elem_type, lengths_of(value)]


def _operation(node: onnx.NodeProto) -> Iterator[str]:
    yield from (node.domain.removeprefix("ai.onnx"), node.op_type, node.overload)
    for attribute in sorted(node.attribute, key=lambda one: one.name):
        yield _sha256(attribute.SerializeToString(deterministic=True))


def _kind(tensor: onnx.TensorProto) -> Iterator[object]:
    yield from (tensor.data_type, list(tensor.dims))
    if tensor.data_type not in FLOATING:
        values = values_of(tensor)
        yield _sha256(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
