"""What each operator of a student becomes in a network of many students."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import onnx
from onnx import helper

from engram_replay.cells import CELLS, step
from engram_replay.widening import CannotStack, Network, Value

_ELEMENTWISE: Final = frozenset(
    {
        "Abs",
        "Add",
        "Cast",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "HardSigmoid",
        "Identity",
        "LeakyRelu",
        "Log",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Sum",
        "Tanh",
        "Where",
    }
)
"""Those that take each element by itself, with shorter shapes repeated as NumPy repeats them."""


def add_operator(network: Network, node: onnx.NodeProto) -> None:
    """Add what a student's node computes, for all students; raises `CannotStack` naming the node where that is not known."""
    try:
        outputs = _outputs(network, node)
    except CannotStack as error:
        of = node.name or next(iter(node.output), "")
        raise CannotStack(
            f"node {of[:80]!r} ({node.op_type}) cannot be stacked, {error}: replay these students one by one"
        ) from error
    for name, value in zip(node.output, outputs, strict=False):
        network.put(name, value)


def _outputs(network: Network, node: onnx.NodeProto) -> list[Value]:
    if node.domain not in ("", "ai.onnx"):
        raise CannotStack(f"an operator of {node.domain[:80]!r}")
    if node.op_type in CELLS:
        return step(network, node)
    if node.op_type in _ELEMENTWISE:
        return [_elementwise(network, node)]
    if node.op_type not in _OTHERS:
        raise CannotStack("an operator that needs to know which axes are whose")
    if network.holds(node.input[0]) or not network.value(node.input[0]).own:
        raise CannotStack(
            "it begins with weights: have the student multiply from the right and join behind what it computes"
        )
    return _OTHERS[node.op_type](network, node)


def _elementwise(network: Network, node: onnx.NodeProto) -> Value:
    rank = len(network.lengths(node.output[0]))
    inputs = [network.value(name, rank=rank) for name in node.input]
    return network.emit(node.op_type, inputs, rank=rank, **_attributes(node))


def _matmul(network: Network, node: onnx.NodeProto) -> list[Value]:
    left, right = (network.value(name) for name in node.input)
    return [network.product(left, right)]


def _gemm(network: Network, node: onnx.NodeProto) -> list[Value]:
    attributes = _attributes(node)
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    left, right, *bias = node.input
    if attributes.get("transA", 0) or not network.holds(right) or not all(network.holds(name) for name in bias if name):
        raise CannotStack("its factors are not an input from the left and weights")
    turned = bool(attributes.get("transB", 0))
    factor = network.weights(
        right, lambda weights: (weights.T if turned else weights) * weights.dtype.type(alpha), form=f"{turned} {alpha}"
    )
    product = network.product(network.value(left), factor)
    if not bias or not bias[0]:
        return [product]
    added = network.weights(
        bias[0],
        lambda weights: weights.reshape((1,) * (2 - weights.ndim) + weights.shape) * weights.dtype.type(beta),
        form=f"rows {beta}",
    )
    return [network.emit("Add", [product, added], rank=2)]


def _concat(network: Network, node: onnx.NodeProto) -> list[Value]:
    values = [network.value(name) for name in node.input]
    if not all(value.own for value in values):
        raise CannotStack("it joins weights to what is computed")
    axis = _behind_minds(_attributes(node)["axis"])
    return [network.emit("Concat", values, rank=values[0].rank, axis=axis)]


def _split(network: Network, node: onnx.NodeProto) -> list[Value]:
    value = network.value(node.input[0])
    attributes = _attributes(node)
    attributes["axis"] = _behind_minds(attributes.get("axis", 0))
    lengths = [network.constant(network.known(name)) for name in node.input[1:] if name]
    return network.emit_several("Split", [value, *lengths], ranks=[value.rank] * len(node.output), **attributes)


def _slice(network: Network, node: onnx.NodeProto) -> list[Value]:
    value = network.value(node.input[0])
    starts, ends, axes, steps = (
        network.known(name) if name else None for name in [*node.input[1:], *[""] * (5 - len(node.input))]
    )
    if starts is None or ends is None:
        raise CannotStack("it has no bounds")
    along = [_behind_minds(axis) for axis in (axes if axes is not None else range(len(starts)))]
    bounds = [starts, ends, along, steps if steps is not None else [1] * len(starts)]
    return [network.emit("Slice", [value, *map(network.constant, bounds)], rank=value.rank)]


def _squeeze(network: Network, node: onnx.NodeProto) -> list[Value]:
    value, axes = _with_axes(network, node)
    return [network.emit("Squeeze", [value, network.constant(axes)], rank=value.rank - len(axes))]


def _unsqueeze(network: Network, node: onnx.NodeProto) -> list[Value]:
    value, axes = _with_axes(network, node)
    return [network.emit("Unsqueeze", [value, network.constant(axes)], rank=value.rank + len(axes))]


def _with_axes(network: Network, node: onnx.NodeProto) -> tuple[Value, list[int]]:
    if len(node.input) < 2 or not node.input[1]:
        raise CannotStack("it names no axes")
    return network.value(node.input[0]), [_behind_minds(axis) for axis in network.known(node.input[1])]


def _reshape(network: Network, node: onnx.NodeProto) -> list[Value]:
    value, shape = network.value(node.input[0]), network.known(node.input[1])
    # A 0 takes the length of the axis at its own place, which moves by one on both sides.
    wide = network.constant([network.minds, *shape])
    return [network.emit("Reshape", [value, wide], rank=len(shape), **_attributes(node))]


def _transpose(network: Network, node: onnx.NodeProto) -> list[Value]:
    value = network.value(node.input[0])
    order = _attributes(node).get("perm", range(value.rank)[::-1])
    return [network.emit("Transpose", [value], rank=value.rank, perm=[0, *(axis + 1 for axis in order)])]


_OTHERS: Final[Mapping[str, Callable[[Network, onnx.NodeProto], list[Value]]]] = {
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _behind_minds(axis: int) -> int:
    """Return an axis of the student as one of the network; counted from the end it stays what it is."""
    return axis if axis < 0 else axis + 1
