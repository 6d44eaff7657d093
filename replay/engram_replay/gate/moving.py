"""Operators that move, pick and join elements, and leave them as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from engram_replay.gate.calls import Call, free_axes, means, positions
from engram_replay.gate.limits import Rule, shown
from engram_replay.gate.values import (
    FREE,
    WHOLE_TYPES,
    Free,
    Items,
    Length,
    Shape,
    Value,
    least,
    lengths,
    small,
    with_items,
)


def _reshaped(value: Value, shape: Shape | None) -> Value:
    """Return the value with other axes; its items stay known where they fit."""
    dims = None if shape is None else lengths(shape)
    if dims is None or value.items is None or not small(dims) or math.prod(dims) != value.items.size:
        return Value(value.type, shape)
    return Value(value.type, shape, value.items.reshape(dims))


@means("Reshape")
def _reshape(call: Call) -> Value:
    value = call.value(0)
    wanted = call.listed(1)
    if wanted is None:
        listed = call.value(1).shape
        count = listed[0] if listed is not None and len(listed) == 1 else FREE
        known = isinstance(count, int) and count <= call.gate.limits.max_rank
        return Value(value.type, tuple(Free(0) for _ in range(least(count))) if known else None)
    shape: list[Length] = []
    for axis, length in enumerate(wanted):
        if length == 0 and not call.number("allowzero", 0):
            inside = value.shape is not None and axis < len(value.shape)
            shape.append(value.shape[axis] if inside and value.shape is not None else Free(0))
        else:
            shape.append(Free(0) if length is None or length < 0 else length)
    if wanted.count(-1) == 1 and value.shape is not None:
        shape[wanted.index(-1)] = _remaining(value.shape, shape, wanted.index(-1))
    return _reshaped(value, tuple(shape))


def _remaining(whole: Shape, shape: Sequence[Length], axis: int) -> Length:
    """Return the length of the one axis that takes the rest of the elements."""
    others = [length for index, length in enumerate(shape) if index != axis]
    total, rest = lengths(tuple(whole)), lengths(tuple(others))
    size = 0 if rest is None else math.prod(rest)
    return math.prod(total) // size if total is not None and size else Free(0)


@means("Flatten")
def _flatten(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None:
        return Value(value.type, (Free(0), Free(0)))
    axis = call.number("axis", 1)
    axis = axis + len(value.shape) if axis < 0 else axis
    if not 0 <= axis <= len(value.shape):
        return Value(value.type)
    return _reshaped(value, (_product(value.shape[:axis]), _product(value.shape[axis:])))


def _product(shape: Shape) -> Length:
    dims = lengths(shape)
    return math.prod(dims) if dims is not None else Free(math.prod(least(length) for length in shape))


@means("Squeeze")
def _squeeze(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None:
        return Value(value.type)
    if call.has(1):
        axes = positions(call.listed(1), len(value.shape))
    elif lengths(value.shape) is not None:
        axes = [axis for axis, length in enumerate(value.shape) if length == 1]
    else:
        axes = None
    if axes is None:
        return Value(value.type)
    return _reshaped(value, tuple(length for axis, length in enumerate(value.shape) if axis not in axes))


@means("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    value = call.value(0)
    named = call.listed(1)
    if value.shape is None or named is None or len(named) > call.gate.limits.max_rank:
        return Value(value.type)
    axes = positions(named, len(value.shape) + len(named))
    if axes is None:
        return Value(value.type)
    rest = iter(value.shape)
    return _reshaped(value, tuple(1 if axis in axes else next(rest) for axis in range(len(value.shape) + len(axes))))


@means("Transpose")
def _transpose(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None:
        return Value(value.type)
    named = call.numbers("perm")
    order = positions(named, len(value.shape)) if named else list(range(len(value.shape)))[::-1]
    if order is None or len(order) != len(value.shape):
        return Value(value.type)
    items = None if value.items is None else value.items.transpose(order)
    return Value(value.type, tuple(value.shape[axis] for axis in order), items)


@means("Concat")
def _concat(call: Call) -> Value:
    values = [value for value in call.inputs if value is not None]
    element_type = values[0].type if values else 0
    shapes = [value.shape for value in values if value.shape is not None]
    if not shapes or len(shapes) < len(values) or len({len(shape) for shape in shapes}) > 1:
        return Value(element_type)
    axis = call.axis(0, len(shapes[0]))
    if axis is None:
        return Value(element_type)
    shape = []
    for index, axis_lengths in enumerate(zip(*shapes, strict=True)):
        if index != axis:
            known = [length for length in axis_lengths if isinstance(length, int)]
            shape.append(known[0] if known else max(axis_lengths, key=least))
        elif any(isinstance(length, Free) for length in axis_lengths):
            shape.append(Free(sum(map(least, axis_lengths))))
        else:
            shape.append(sum(map(least, axis_lengths)))
    return Value(element_type, tuple(shape), _joined_items(values, tuple(shape), axis))


def _joined_items(values: Sequence[Value], shape: Shape, axis: int) -> Items | None:
    dims = lengths(shape)
    if dims is None or not small(dims) or all(value.items is None for value in values):
        return None
    blanks = [value.blank for value in values]
    items = [each for each in blanks if each is not None]
    try:
        found = np.concatenate(items, axis=axis)
    except ValueError:
        return None
    return found if found.shape == dims else None


@means("Slice")
def _slice(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None:
        return Value(value.type)
    starts, ends = call.listed(1), call.listed(2)
    if starts is None or ends is None or len(starts) != len(ends):
        return Value(value.type, tuple(Free(0) for _ in value.shape))
    axes = positions(call.listed(3) if call.has(3) else list(range(len(starts))), len(value.shape))
    steps = call.listed(4) if call.has(4) else [1] * len(starts)
    if axes is None or steps is None or not len(axes) == len(starts) == len(steps):
        return Value(value.type, tuple(Free(0) for _ in value.shape))
    picked = [slice(None)] * len(value.shape)
    shape = list(value.shape)
    clear = True
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        length = shape[axis]
        if start is None or end is None or step is None or step == 0 or not isinstance(length, int):
            shape[axis] = Free(0)
            clear = False
            continue
        first, last, by = slice(start, end, step).indices(length)
        shape[axis] = len(range(first, last, by))
        picked[axis] = slice(first, last if last >= 0 else None, by)
    items = value.items[tuple(picked)] if clear and value.items is not None else None
    return Value(value.type, tuple(shape), items)


@means("Split")
def _split(call: Call) -> Sequence[Value]:
    value = call.value(0)
    count = len(call.node.output)
    if value.shape is None:
        return [Value(value.type)] * count
    axis = call.axis(0, len(value.shape))
    if axis is None:
        return [Value(value.type)] * count
    length = value.shape[axis]
    parts: Sequence[int | None] | None = call.listed(1) if call.has(1) else None
    if not call.has(1) and isinstance(length, int) and count:
        size = -(-length // count)
        parts = [max(0, min(size, length - size * index)) for index in range(count)]
    shares = None if parts is None or len(parts) != count else free_axes(parts)
    found = []
    at = 0
    for index in range(count):
        share: Length = Free(0) if shares is None else shares[index]
        items = None
        if value.items is not None and isinstance(share, int) and at >= 0:
            items = value.items[(slice(None),) * axis + (slice(at, at + share),)]
            at += share
        else:
            at = -1
        shape = (*value.shape[:axis], share, *value.shape[axis + 1 :])
        found.append(Value(value.type, shape, items if items is not None and items.shape == shape else None))
    return found


@means("Gather")
def _gather(call: Call) -> Value:
    value, indices = call.value(0), call.value(1)
    if value.shape is None:
        return Value(value.type)
    axis = call.axis(0, len(value.shape))
    if axis is None:
        return Value(value.type)
    length = value.shape[axis]
    if isinstance(length, int) and indices.items is not None:
        _check_indices(call, indices.items, length)
    shape = None if indices.shape is None else (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :])
    return Value(value.type, shape, _gathered(value, indices, shape, axis))


def _check_indices(call: Call, indices: Items, length: int) -> None:
    for index in indices.reshape(-1).tolist():
        if call.certain and index is not None and not -length <= index < length:
            raise call.gate.refusal(
                Rule.INDEX,
                f"picks element {index} of {length} in node {shown(call.node.name)} (Gather)",
                remedy="export it again",
            )


def _gathered(value: Value, indices: Value, shape: Shape | None, axis: int) -> Items | None:
    dims = None if shape is None else lengths(shape)
    if value.items is None or indices.items is None or dims is None or not small(dims):
        return None
    picks = indices.items.reshape(-1).tolist()
    if any(pick is None for pick in picks):
        return None
    try:
        return value.items.take(np.array(picks, dtype=np.int64), axis=axis).reshape(dims)
    except (IndexError, ValueError):
        return None


@means("GatherElements")
def _gather_elements(call: Call) -> Value:
    return Value(call.value(0).type, call.value(1).shape)


@means("GatherND")
def _gather_nd(call: Call) -> Value:
    value, indices = call.value(0), call.value(1)
    batch = call.number("batch_dims", 0)
    if value.shape is None or not indices.shape or not isinstance(indices.shape[-1], int):
        return Value(value.type)
    return Value(value.type, (*indices.shape[:-1], *value.shape[batch + indices.shape[-1] :]))


@means("Compress")
def _compress(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None or "axis" not in call.attributes:
        return Value(value.type, (Free(0),))
    axis = call.axis(0, len(value.shape))
    return Value(
        value.type,
        None if axis is None else tuple(Free(0) if index == axis else size for index, size in enumerate(value.shape)),
    )


@means("TopK")
def _top_k(call: Call) -> Sequence[Value]:
    value = call.value(0)
    count = call.listed(1)
    shape = None
    if value.shape is not None:
        axis = call.axis(-1, len(value.shape))
        taken = None if count is None or len(count) != 1 else free_axes(count)
        if axis is not None:
            shape = (*value.shape[:axis], Free(0) if taken is None else taken[0], *value.shape[axis + 1 :])
    return Value(value.type, shape), Value(TensorProto.INT64, shape)


@means("DepthToSpace SpaceToDepth")
def _blocks(call: Call) -> Value:
    value = call.value(0)
    block = call.number("blocksize", 0)
    if value.shape is None or len(value.shape) != 4 or not 0 < block < 2**16:
        return Value(value.type)
    batch, channels, height, width = value.shape
    dims = lengths((channels, height, width))
    if dims is None:
        return Value(value.type, (batch, Free(0), Free(0), Free(0)))
    if call.node.op_type == "DepthToSpace":
        return Value(value.type, (batch, dims[0] // block**2, dims[1] * block, dims[2] * block))
    return Value(value.type, (batch, dims[0] * block**2, dims[1] // block, dims[2] // block))


@means(
    "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare"
)
def _reduce(call: Call) -> Value:
    value = call.value(0)
    found = call.node.op_type.startswith("Arg")
    element_type = TensorProto.INT64 if found else value.type
    if value.shape is None:
        return Value(element_type)
    rank = len(value.shape)
    given: Sequence[int | None] | None
    if found:
        given = [call.number("axis", 0)]
    elif call.has(1):
        given = call.listed(1)
    else:
        given = call.numbers("axes") or []
    if not found and given == []:
        if call.number("noop_with_empty_axes", 0):
            return replace(value, items=None)
        given = list(range(rank))
    axes = positions(given, rank)
    if axes is None:
        return Value(element_type)
    keep = bool(call.number("keepdims", 1))
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(value.shape) if keep or axis not in axes)
    return Value(element_type, shape, _reduced(call.node.op_type, value, tuple(axes), keep=keep))


_REDUCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
}


def _reduced(operator: str, value: Value, axes: tuple[int, ...], *, keep: bool) -> Items | None:
    """Return the items of a reduction of whole numbers; those of other numbers depend on the order in which they are taken."""
    if operator not in _REDUCTIONS or value.type not in WHOLE_TYPES or value.items is None or not value.items.size:
        return None
    if any(item is None for item in value.items.reshape(-1).tolist()):
        return None
    found = np.asarray(_REDUCTIONS[operator](value.items, axis=axes, keepdims=keep), dtype=object)
    return with_items(value.type, found).items
