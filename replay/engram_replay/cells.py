"""One step of the recurrent operators, written out as products, as the ONNX specification defines them.

Weights are those of the operators: `W` and `R` are (1, gates x hidden, input), gates in the order z r h of a GRU and i o f c of
an LSTM. The time axis has the length 1, so that a step is a product, sums and the gates' functions. Where all students share the
operator's weights it stays what it is, and takes the rows of all minds together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import helper

from engram_replay.architecture import Weights
from engram_replay.widening import CannotStack, Network, Value

CELLS: Final = frozenset({"GRU", "LSTM", "RNN"})

_FUNCTIONS: Final = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_SIMPLE: Final = frozenset({"Tanh", "Relu", "Sigmoid"})
_USUAL: Final[Mapping[str, object]] = {
    "activation_alpha": None,
    "activation_beta": None,
    "clip": None,
    "direction": b"forward",
    "input_forget": 0,
    "layout": 0,
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """A recurrent operator whose settings are ones that can be written out; names are the student's."""

    node: onnx.NodeProto
    x: str
    states: tuple[str, ...]
    w: str
    r: str
    bias: str
    """Empty where there is none."""
    hidden: int
    reset_after_product: bool
    """Of a GRU: `linear_before_reset`."""
    function: str
    """Of an RNN: what its sum goes through."""


def step(network: Network, node: onnx.NodeProto) -> list[Value]:
    """Add one step of a recurrent operator and return its outputs; raises `CannotStack` for what is not a plain step."""
    cell = _read(network, node)
    if not any(network.is_stacked(name) for name in (cell.w, cell.r, cell.bias)):
        return _whole(network, cell)
    x, *states = (
        network.emit("Squeeze", [network.value(name), network.constant([1])], rank=2) for name in (cell.x, *cell.states)
    )
    after = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}[node.op_type](network, cell, x, states)
    every = network.emit("Unsqueeze", [after[0], network.constant([1, 2])], rank=4)
    return [every, *(network.emit("Unsqueeze", [state, network.constant([1])], rank=3) for state in after)]


def _read(network: Network, node: onnx.NodeProto) -> _Cell:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    odd = next((name for name, usual in _USUAL.items() if attributes.get(name, usual) != usual), "")
    functions = tuple(name.decode() for name in attributes.get("activations", [])) or _FUNCTIONS[node.op_type]
    if functions != _FUNCTIONS[node.op_type] and not (node.op_type == "RNN" and functions[0] in _SIMPLE):
        odd = "activations"
    if odd:
        raise CannotStack(f"its {odd} are not the usual ones")
    count = 2 if node.op_type == "LSTM" else 1
    x, w, r, bias, sequence_lengths, *rest = [*node.input, *[""] * (8 - len(node.input))]
    states = tuple(rest[:count])
    if sequence_lengths or any(rest[count:]):
        raise CannotStack(f"it takes {'lengths of sequences' if sequence_lengths else 'peepholes'}")
    if not all(network.holds(name) for name in (w, r, bias) if name):
        raise CannotStack("its weights are computed as it runs")
    if not all(name and not network.holds(name) and network.value(name).own for name in (x, *states)):
        raise CannotStack("its state is not an input of the student")
    if network.lengths(x)[0] != 1:
        raise CannotStack("it takes more than one step at once, or does not say how many")
    return _Cell(
        node,
        x=x,
        states=states,
        w=w,
        r=r,
        bias=bias,
        hidden=_length(network, r, axis=2),
        reset_after_product=bool(attributes.get("linear_before_reset", 0)),
        function=functions[0],
    )


def _length(network: Network, name: str, *, axis: int) -> int:
    return int(network.lengths(name)[axis] or 0)  # tensors that a network holds have lengths


def _whole(network: Network, cell: _Cell) -> list[Value]:
    """Run the operator itself over the rows of all minds, which lie one after the other once the time axis is of length 1."""
    x = _rows(network, cell.x, _length(network, cell.w, axis=2))
    states = [_rows(network, name, cell.hidden) for name in cell.states]
    held = [network.value(name) if name else Value("", 0, own=False) for name in (cell.w, cell.r, cell.bias)]
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in cell.node.attribute}
    inputs = [x, *held, Value("", 0, own=False), *states]
    every, *after = network.emit_several(cell.node.op_type, inputs, ranks=[4, *[3] * len(states)], **attributes)
    shape = [network.minds, 1, -1, cell.hidden]
    return [
        network.emit("Reshape", [every, network.constant([network.minds, 1, 1, -1, cell.hidden])], rank=4),
        *(network.emit("Reshape", [state, network.constant(shape)], rank=3) for state in after),
    ]


def _rows(network: Network, name: str, width: int) -> Value:
    return network.emit("Reshape", [network.value(name), network.constant([1, -1, width])], rank=3)


def _gru(network: Network, cell: _Cell, x: Value, states: Sequence[Value]) -> list[Value]:
    (h,) = states
    two, one = 2 * cell.hidden, cell.hidden
    x_gates, x_new = network.split(_driven(network, cell, x), [two, one])
    if cell.reset_after_product:
        recurrent = network.product(h, network.weights(cell.r, _turned, form="turned"))
        h_gates, h_new = network.split(recurrent, [two, one])
    else:
        h_gates = network.product(h, network.weights(cell.r, lambda r: _turned(r)[:, :two], form="z r"))
    z, r = network.split(_apply(network, "Sigmoid", _sum(network, x_gates, h_gates)), [one, one])
    if not cell.reset_after_product:
        h_new = network.product(
            _times(network, r, h), network.weights(cell.r, lambda weights: _turned(weights)[:, two:], form="h")
        )
    elif cell.bias:
        h_new = _sum(network, h_new, _bias(network, cell, lambda bias: bias[:, 3 * one + two :], form="Rbh"))
    if cell.reset_after_product:
        h_new = _times(network, r, h_new)
    new = _apply(network, "Tanh", _sum(network, x_new, h_new))
    kept = _times(network, z, network.emit("Sub", [h, new], rank=2))
    return [_sum(network, new, kept)]


def _lstm(network: Network, cell: _Cell, x: Value, states: Sequence[Value]) -> list[Value]:
    h, c = states
    recurrent = network.product(h, network.weights(cell.r, _turned, form="turned"))
    one = cell.hidden
    open_gates, new = network.split(_sum(network, _driven(network, cell, x), recurrent), [3 * one, one])
    i, o, f = network.split(_apply(network, "Sigmoid", open_gates), [one] * 3)
    c_after = _sum(network, _times(network, f, c), _times(network, i, _apply(network, "Tanh", new)))
    return [_times(network, o, _apply(network, "Tanh", c_after)), c_after]


def _rnn(network: Network, cell: _Cell, x: Value, states: Sequence[Value]) -> list[Value]:
    recurrent = network.product(states[0], network.weights(cell.r, _turned, form="turned"))
    return [_apply(network, cell.function, _sum(network, _driven(network, cell, x), recurrent))]


def _driven(network: Network, cell: _Cell, x: Value) -> Value:
    """Return what the input adds to each gate, with both biases but those that a reset scales."""
    driven = network.product(x, network.weights(cell.w, _turned, form="turned"))
    if not cell.bias:
        return driven
    apart = cell.hidden if cell.node.op_type == "GRU" and cell.reset_after_product else 0

    def together(bias: Weights) -> Weights:
        of_input, of_state = np.split(bias, 2, axis=1)
        added = np.where(np.arange(of_state.shape[1]) < of_state.shape[1] - apart, of_state, of_state.dtype.type(0))
        return np.asarray(of_input + added)

    return _sum(network, driven, _bias(network, cell, together, form="together"))


def _bias(network: Network, cell: _Cell, change: Callable[[Weights], Weights], *, form: str) -> Value:
    return network.weights(cell.bias, change, form=form)


def _turned(weights: Weights) -> Weights:
    """Return the weights of the one direction so that rows are multiplied from the right: (input, gates x hidden)."""
    return np.transpose(weights[0])


def _sum(network: Network, one: Value, other: Value) -> Value:
    return network.emit("Add", [one, other], rank=2)


def _times(network: Network, one: Value, other: Value) -> Value:
    return network.emit("Mul", [one, other], rank=2)


def _apply(network: Network, function: str, value: Value) -> Value:
    return network.emit(function, [value], rank=2)
