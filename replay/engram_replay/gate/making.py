"""Operators that make values: from nothing, from lists of lengths, or larger than their inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from engram_replay.gate.calls import Call, free_axes, means, number_of, positions
from engram_replay.gate.values import (
    FREE,
    WHOLE_TYPES,
    Free,
    Length,
    Shape,
    Value,
    broadcast,
    least,
    lengths,
    literal,
    scalar,
    small,
    with_items,
)


@means("Constant")
def _constant(call: Call) -> Value:
    for name, attribute in call.attributes.items():
        match name:
            case "value":
                return literal(attribute.t)
            case "value_int":
                return scalar(TensorProto.INT64, attribute.i)
            case "value_float":
                return scalar(TensorProto.FLOAT, attribute.f)
            case "value_ints":
                return _list(TensorProto.INT64, list(attribute.ints))
            case "value_floats":
                return _list(TensorProto.FLOAT, list(attribute.floats))
    return Value()


def _list(element_type: int, items: Sequence[float]) -> Value:
    if not small([len(items)]):
        return Value(element_type, (len(items),))
    return with_items(element_type, np.array([*items, None], dtype=object)[:-1])


def _filled(shape: Shape, filling: Value) -> Value:
    dims = lengths(shape)
    item = filling.listed()
    if dims is None or not small(dims) or item is None or len(item) != 1:
        return Value(filling.type, shape)
    return with_items(filling.type, np.full(dims, item[0], dtype=object))


@means("ConstantOfShape")
def _constant_of_shape(call: Call) -> Value:
    filling = literal(call.attributes["value"].t) if "value" in call.attributes else scalar(TensorProto.FLOAT, 0.0)
    numbers = call.listed(0)
    shape = _unlisted(call) if numbers is None else free_axes(numbers)
    return Value(filling.type) if shape is None else _filled(shape, filling)


def _unlisted(call: Call, index: int = 0) -> Shape | None:
    """Return the free axes that a list of known length, but of unknown lengths, stands for."""
    shape = call.value(index).shape
    if shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > call.gate.limits.max_rank:
        return None
    return (FREE,) * shape[0]


@means("Expand")
def _expand(call: Call) -> Value:
    value = call.value(0)
    numbers = call.listed(1)
    wanted = _unlisted(call, 1) if numbers is None else free_axes(numbers)
    if wanted is not None:
        call.check_at_least(wanted, value.type)
    shape = broadcast([value.shape, wanted])
    dims = None if shape is None else lengths(shape)
    if value.items is not None and dims is not None and small(dims):
        return Value(value.type, shape, np.broadcast_to(value.items, dims).copy())
    return Value(value.type, shape)


@means("Tile")
def _tile(call: Call) -> Value:
    value = call.value(0)
    repeats = call.listed(1)
    if repeats is not None:
        call.check_at_least([repeat or 1 for repeat in repeats], value.type)
    if value.shape is None or repeats is None or len(repeats) != len(value.shape):
        return Value(value.type, None if value.shape is None else tuple(Free(0) for _ in value.shape))
    if any(repeat is not None and repeat < 0 for repeat in repeats):
        return Value(value.type)
    shape = tuple(
        Free(0) if repeat is None else _times(length, repeat)
        for length, repeat in zip(value.shape, repeats, strict=True)
    )
    dims = lengths(shape)
    if value.items is not None and dims is not None and small(dims):
        return Value(value.type, shape, np.tile(value.items, [repeat or 0 for repeat in repeats]))
    return Value(value.type, shape)


def _times(length: Length, repeat: int) -> Length:
    return Free(length.least * repeat) if isinstance(length, Free) else length * repeat


@means("Range")
def _range(call: Call) -> Value:
    element_type = call.value(0).type
    ends = [call.value(index).listed() for index in range(3)]
    if any(end is None or len(end) != 1 or end[0] is None for end in ends):
        return Value(element_type, (Free(0),))
    start, limit, step = (end[0] for end in ends if end is not None)
    if step == 0:
        return Value(element_type, (Free(0),))
    if all(isinstance(number, int) for number in (start, limit, step)):
        length = max(0, -((start - limit) // step))
    else:
        quotient = (float(limit) - start) / step
        length = max(0, math.ceil(quotient)) if math.isfinite(quotient) else 2**63
    if element_type in WHOLE_TYPES and small([length]):
        return _list(element_type, [start + index * step for index in range(length)])
    return Value(element_type, (length,))


@means("OneHot")
def _one_hot(call: Call) -> Value:
    shape = call.value(0).shape
    depth = call.value(1).listed()  # of any type, in the file; runtimes cut it to a whole number
    if shape is None or depth is None or len(depth) != 1:
        return Value(call.value(2).type)
    axis = call.axis(-1, len(shape) + 1)
    added: Length = FREE if depth[0] is None else int(depth[0])
    if axis is None or least(added) < 0:
        return Value(call.value(2).type)
    return Value(call.value(2).type, (*shape[:axis], added, *shape[axis:]))


@means("EyeLike")
def _eye_like(call: Call) -> Value:
    return Value(call.number("dtype", call.value(0).type), call.value(0).shape)


@means("HannWindow HammingWindow BlackmanWindow")
def _window(call: Call) -> Value:
    size = call.listed(0)
    shape = None if size is None or len(size) != 1 else free_axes(size)
    return Value(call.number("output_datatype", TensorProto.FLOAT), shape)


@means("MelWeightMatrix")
def _mel_weights(call: Call) -> Value:
    bands, length = call.listed(0), call.listed(1)
    element_type = call.number("output_datatype", TensorProto.FLOAT)
    if bands is None or length is None or len(bands) != 1 or len(length) != 1:
        return Value(element_type)
    rows = None if length[0] is None else length[0] // 2 + 1
    return Value(element_type, free_axes([rows, bands[0]]))


@means("Shape")
def _shape(call: Call) -> Value:
    shape = call.value(0).shape
    if shape is None:
        return Value(TensorProto.INT64, (Free(0),))
    chosen = shape[slice(*slice(call.number("start", 0), call.number("end", len(shape))).indices(len(shape)))]
    return _list_of_lengths(chosen)


def _list_of_lengths(shape: Shape) -> Value:
    items: Any = np.empty(len(shape), dtype=object)
    items[:] = [number_of(length) for length in shape]
    return with_items(TensorProto.INT64, items)


@means("Size")
def _size(call: Call) -> Value:
    shape = call.value(0).shape
    dims = None if shape is None else lengths(shape)
    return scalar(TensorProto.INT64, None if dims is None else math.prod(dims))


@means("NonZero")
def _non_zero(call: Call) -> Value:
    rank = call.value(0).rank
    return Value(TensorProto.INT64, (Free(0) if rank is None else max(rank, 1), Free(0)))


@means("Pad")
def _pad(call: Call) -> Value:
    value = call.value(0)
    pads = call.listed(1)
    if value.shape is None or pads is None:
        return Value(value.type, None if value.shape is None else tuple(Free(0) for _ in value.shape))
    rank = len(value.shape)
    axes = positions(call.listed(3), rank) if call.has(3) else list(range(rank))
    if axes is None or len(pads) != 2 * len(axes):
        return Value(value.type)
    shape = list(value.shape)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        added = None if before is None or after is None else before + after
        shape[axis] = _longer(shape[axis], added)
    return Value(value.type, tuple(shape))


def _longer(length: Length, added: int | None) -> Length:
    """Return the length of an axis that is padded, or cut where `added` is negative."""
    if added is None:
        return Free(0)
    return max(0, length + added) if isinstance(length, int) else Free(max(0, length.least + added))


@means("CenterCropPad")
def _center_crop_pad(call: Call) -> Value:
    value = call.value(0)
    wanted = call.listed(1)
    if value.shape is None or wanted is None:
        return Value(value.type)
    named = call.numbers("axes")
    axes = positions(named, len(value.shape)) if named is not None else list(range(len(value.shape)))
    new = free_axes(wanted)
    if axes is None or new is None or len(axes) != len(new):
        return Value(value.type)
    shape = list(value.shape)
    for axis, length in zip(axes, new, strict=True):
        shape[axis] = length
    return Value(value.type, tuple(shape))


@means("Resize")
def _resize(call: Call) -> Value:
    value = call.value(0)
    if value.shape is None:
        return Value(value.type)
    rank = len(value.shape)
    named = call.numbers("axes")
    axes = positions(named, rank) if named else list(range(rank))
    scales = call.value(2).listed() if call.has(2) else None
    sizes = call.listed(3) if call.has(3) else None
    shape = list(value.shape)
    if axes is None:
        return Value(value.type)
    if sizes is not None and len(sizes) == len(axes) and call.text("keep_aspect_ratio_policy", "stretch") == "stretch":
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = FREE if size is None else max(0, size)
    elif scales is not None and len(scales) == len(axes):
        for axis, scale in zip(axes, scales, strict=True):
            shape[axis] = _scaled(shape[axis], scale)
    else:
        shape = [Free(0) for _ in shape]
    return Value(value.type, tuple(shape))


def _scaled(length: Length, scale: float | None) -> Length:
    if scale is None or scale < 0:
        return Free(0)
    found = math.floor(least(length) * min(scale, 2.0**40))
    return found if isinstance(length, int) else Free(found)
