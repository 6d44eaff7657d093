"""Operators that bring weights and inputs together: products, convolutions, pools, recurrent layers, attention, spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from onnx import TensorProto

from engram_replay.gate.calls import Call, means
from engram_replay.gate.values import FREE, Free, Length, Shape, Value, broadcast, least


@means("MatMul MatMulInteger QLinearMatMul")
def _matmul(call: Call) -> Value:
    second, element_type = 1, call.value(0).type
    if call.node.op_type == "MatMulInteger":
        element_type = TensorProto.INT32
    elif call.node.op_type == "QLinearMatMul":
        second, element_type = 3, call.value(7).type
    return Value(element_type, _product(call.value(0).shape, call.value(second).shape))


def _product(a: Shape | None, b: Shape | None) -> Shape | None:
    if not a or not b:
        return None
    rows: Shape = a[-2:-1]
    columns: Shape = b[-1:] if len(b) > 1 else ()
    outer = broadcast([a[:-2], b[:-2]])
    return None if outer is None else (*outer, *rows, *columns)


@means("Gemm")
def _gemm(call: Call) -> Value:
    a, b = call.value(0).shape, call.value(1).shape
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return Value(call.value(0).type)
    return Value(call.value(0).type, (a[bool(call.number("transA", 0))], b[not call.number("transB", 0)]))


@means("Einsum")
def _einsum(call: Call) -> Value:
    terms, arrow, out = call.text("equation", "").replace(" ", "").partition("->")
    shapes = [call.value(index).shape for index in range(len(call.inputs))]
    inputs = terms.split(",")
    if not arrow or "." in terms or "." in out or len(inputs) != len(shapes):
        return Value(call.value(0).type)
    known: dict[str, Length] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        if shape is None or len(shape) != len(letters):
            return Value(call.value(0).type)
        for letter, length in zip(letters, shape, strict=True):
            if letter not in known or isinstance(known[letter], Free) or known[letter] == 1:
                known[letter] = length
    if any(letter not in known for letter in out):
        return Value(call.value(0).type)
    return Value(call.value(0).type, tuple(known[letter] for letter in out))


@means("Det")
def _determinant(call: Call) -> Value:
    shape = call.value(0).shape
    return Value(call.value(0).type, None if shape is None else shape[:-2])


@means("Conv ConvInteger QLinearConv")
def _conv(call: Call) -> Value:
    weights, element_type = call.value(1).shape, call.value(0).type
    if call.node.op_type == "ConvInteger":
        element_type = TensorProto.INT32
    elif call.node.op_type == "QLinearConv":
        weights, element_type = call.value(3).shape, call.value(7).type
    shape = call.value(0).shape
    if shape is None or weights is None or len(weights) != len(shape) or len(shape) < 3:
        return Value(element_type)
    return Value(element_type, (shape[0], weights[0], *_windows(call, shape[2:], weights[2:])))


@means("AveragePool MaxPool LpPool")
def _pool(call: Call) -> Sequence[Value]:
    shape, kernel = call.value(0).shape, call.numbers("kernel_shape")
    if shape is None or kernel is None or len(kernel) != len(shape) - 2:
        return (Value(call.value(0).type),)
    pooled = (*shape[:2], *_windows(call, shape[2:], tuple(kernel)))
    return Value(call.value(0).type, pooled), Value(TensorProto.INT64, pooled)


def _windows(call: Call, axes: Shape, kernel: Shape) -> Shape:
    """Return how often a window fits along each axis, with padding, strides and dilations as the node has them."""
    rank = len(axes)
    strides = call.numbers("strides") or [1] * rank
    dilations = call.numbers("dilations") or [1] * rank
    pads = call.numbers("pads") or [0] * (2 * rank)
    kind = call.text("auto_pad", "NOTSET")
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or min(strides, default=1) < 1:
        return (Free(0),) * rank
    found: list[Length] = []
    for axis, (length, size) in enumerate(zip(axes, kernel, strict=True)):
        if kind in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-least(length) // strides[axis])
        else:
            padding = pads[axis] + pads[axis + rank] if kind == "NOTSET" else 0
            room = least(length) + padding - (dilations[axis] * (least(size) - 1) + 1)
            if call.number("ceil_mode", 0) or isinstance(size, Free):
                found.append(Free(max(0, room // strides[axis] + 1) if isinstance(size, int) else 0))
                continue
            count = room // strides[axis] + 1
        found.append(max(0, count) if isinstance(length, int) else Free(max(0, count)))
    return tuple(found)


@means("ConvTranspose")
def _conv_transpose(call: Call) -> Value:
    shape, weights = call.value(0).shape, call.value(1).shape
    element_type = call.value(0).type
    if shape is None or weights is None or len(shape) != len(weights) or len(shape) < 3:
        return Value(element_type)
    rank = len(shape) - 2
    channels = weights[1] if isinstance(weights[1], Free) else weights[1] * max(1, call.number("group", 1))
    told = call.numbers("output_shape")
    if told is not None:
        spatial: Shape = tuple(max(0, length) for length in told[-rank:])
        return Value(element_type, (shape[0], channels, *spatial))
    strides = call.numbers("strides") or [1] * rank
    dilations = call.numbers("dilations") or [1] * rank
    pads = call.numbers("pads") or [0] * (2 * rank)
    added = call.numbers("output_padding") or [0] * rank
    if {len(strides), len(dilations), len(added)} != {rank} or len(pads) != 2 * rank:
        return Value(element_type)
    kind = call.text("auto_pad", "NOTSET")
    found: list[Length] = []
    for axis, (length, size) in enumerate(zip(shape[2:], weights[2:], strict=True)):
        if kind in ("SAME_UPPER", "SAME_LOWER"):
            count = least(length) * strides[axis]
        else:
            padding = pads[axis] + pads[axis + rank] if kind == "NOTSET" else 0
            reach = dilations[axis] * (least(size) - 1) + 1
            count = strides[axis] * (least(length) - 1) + added[axis] + reach - padding
        known = isinstance(length, int) and isinstance(size, int)
        found.append(max(0, count) if known else Free(max(0, count)))
    return Value(element_type, (shape[0], channels, *found))


@means("GlobalAveragePool GlobalLpPool GlobalMaxPool")
def _global_pool(call: Call) -> Value:
    shape = call.value(0).shape
    return Value(call.value(0).type, None if shape is None else (*shape[:2], *(1 for _ in shape[2:])))


_RECURRENT_GATES: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}


@means(" ".join(_RECURRENT_GATES))
def _recurrent(call: Call) -> Sequence[Value]:
    sequence, weights = call.value(0).shape, call.value(2).shape
    element_type = call.value(0).type
    if sequence is None or weights is None or len(sequence) != 3 or len(weights) != 3:
        return (Value(element_type),)
    directions, hidden = weights[0], weights[2]
    if call.number("layout", 0):
        batch, time = sequence[:2]
        last = Value(element_type, (batch, directions, hidden))
        return Value(element_type, (batch, time, directions, hidden)), last, last
    time, batch = sequence[:2]
    last = Value(element_type, (directions, batch, hidden))
    return Value(element_type, (time, directions, batch, hidden)), last, last


@means("Attention")
def _attention(call: Call) -> Sequence[Value]:
    """Follow the axes of attention as it is in opset 23: three axes with heads in the last, or four with heads second."""
    query, key, value = (call.value(index).shape for index in range(3))
    element_type = call.value(0).type
    if query is None or key is None or value is None or {len(query), len(key), len(value)} != {len(query)}:
        return (Value(element_type),)
    heads: Length
    if len(query) == 4:
        heads = query[1]
        out: Shape = (*query[:3], value[3])
    elif len(query) == 3:
        heads = FREE
        groups = call.number("kv_num_heads", 0)
        wide = value[2]
        known = isinstance(wide, int) and groups > 0
        size = wide // groups * call.number("q_num_heads", 0) if known and isinstance(wide, int) else Free(0)
        out = (*query[:2], size)
    else:
        return (Value(element_type),)
    call.check_at_least((query[0], heads, query[-2], key[-2]), element_type)
    return (Value(element_type, out),)


@means("DFT")
def _dft(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None:
        return Value(value.type)
    told = call.listed(1) if call.has(1) else None
    if told and told[0] is not None:
        call.check_at_least((told[0],), value.type)
    return Value(value.type, (*(Free(0) for _ in value.shape[:-1]), Free(1)))


@means("STFT")
def _stft(call: Call) -> Value:
    value = call.value(0)
    step, length = (call.listed(index) if call.has(index) else None for index in (1, 3))
    size = length[0] if length else None
    window_shape = call.value(2).shape if call.has(2) else None
    if size is None and window_shape and isinstance(window_shape[0], int):
        size = window_shape[0]
    if value.shape is None or len(value.shape) < 2 or size is None or not step or not step[0] or step[0] < 1:
        return Value(value.type)
    frames = max(0, (least(value.shape[1]) - size) // step[0] + 1)
    bins = size // 2 + 1 if call.number("onesided", 1) else size
    many: Length = frames if isinstance(value.shape[1], int) else Free(frames)
    return Value(value.type, (value.shape[0], many, max(0, bins), 2))


@means("Unique")
def _unique(call: Call) -> Sequence[Value]:
    value = call.value(0)
    rank = value.rank if "axis" in call.attributes else 1
    shape = None if rank is None else (Free(0),) * rank
    flat = Value(TensorProto.INT64, (Free(0),))
    return Value(value.type, shape), flat, flat, flat
