"""What is known of a value before the network is run: its type, the lengths of its axes, and small contents.

Lengths and whole numbers are Python's own, so that nothing overflows; contents beyond `MAX_ITEMS` elements are not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

MAX_ITEMS: Final = 256
MAX_RANK: Final = 32


@dataclass(frozen=True, slots=True)
class Free:
    """The length of an axis that only a run shows; two of these need not be equal."""

    least: int = 1
    """It is no shorter, for a stimulus that is not empty."""


Length: TypeAlias = int | Free
Shape: TypeAlias = tuple[Length, ...]
Items: TypeAlias = NDArray[Any]
"""Elements as Python objects: int, float or bool, or `None` where one is not known."""

FREE: Final = Free()


def least(length: Length) -> int:
    """Return the length, or what it is at least."""
    return length.least if isinstance(length, Free) else length


def lengths(shape: Shape) -> tuple[int, ...] | None:
    """Return the shape if every length is known."""
    known = tuple(length for length in shape if isinstance(length, int))
    return known if len(known) == len(shape) else None


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of one value; the least is nothing at all."""

    type: int = 0
    """As `TensorProto.DataType` numbers it; 0 if it is not known."""
    shape: Shape | None = None
    items: Items | None = None
    """Of the shape, where it is small."""
    fixed: bool = False
    """It is the same in every run, so that a runtime may compute it when loading."""

    @property
    def rank(self) -> int | None:
        """How many axes it has, where that is known."""
        return None if self.shape is None else len(self.shape)

    @property
    def blank(self) -> Items | None:
        """Its items, or as many that are not known; `None` if it is large or its shape is not known."""
        if self.items is not None or self.shape is None:
            return self.items
        dims = lengths(self.shape)
        return None if dims is None or not small(dims) else np.full(dims, None, dtype=object)

    def listed(self) -> list[Any] | None:
        """Return the items of a list or scalar, in order."""
        return None if self.items is None or self.items.ndim > 1 else self.items.reshape(-1).tolist()


def small(dims: Sequence[int]) -> bool:
    """Tell whether the items of such a value are followed."""
    return len(dims) <= MAX_RANK and math.prod(max(length, 1) for length in dims) <= MAX_ITEMS


def with_items(element_type: int, items: Items) -> Value:
    """Return a value of known shape, its items rounded as the type rounds them; what it cannot hold becomes unknown."""
    kept = np.empty(items.size, dtype=object)
    kept[:] = [rounded(item, element_type) for item in items.reshape(-1).tolist()]
    return Value(element_type, items.shape, kept.reshape(items.shape))


def scalar(element_type: int, item: float | None) -> Value:
    """Return a value without axes."""
    items = np.empty((), dtype=object)
    items[()] = item
    return with_items(element_type, items)


def rounded(item: float | None, element_type: int) -> float | None:
    """Return the number that a tensor of the type holds for `item`, or `None` if that is not told here."""
    if item is None:
        return None
    if element_type == TensorProto.BOOL:
        return bool(item)
    if element_type in _WHOLE:
        low, high = _WHOLE[element_type]
        return int(item) if isinstance(item, int) and low <= item <= high else None
    if element_type not in _REAL:
        return None
    try:
        with np.errstate(all="ignore"):
            number = float(_REAL[element_type](item))
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


_WHOLE: Final = {
    **{getattr(TensorProto, f"INT{bits}"): (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{getattr(TensorProto, f"UINT{bits}"): (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_REAL: Final[dict[int, Callable[[float], np.floating[Any]]]] = {
    TensorProto.FLOAT16: np.float16,
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
}
WHOLE_TYPES: Final = frozenset(_WHOLE)


def literal(tensor: onnx.TensorProto) -> Value:
    """Return a stored tensor, which has passed `check_tensors`."""
    dims = tuple(tensor.dims)
    element_type = tensor.data_type
    if small(dims) and (element_type in _WHOLE or element_type in _REAL or element_type == TensorProto.BOOL):
        items = with_items(element_type, numpy_helper.to_array(tensor).astype(object)).items
        return Value(element_type, dims, items, fixed=True)
    return Value(element_type, dims, fixed=True)


def broadcast(shapes: Iterable[Shape | None]) -> Shape | None:
    """Return the shape of an operation on each element of several values; `None` if it is not known or they do not fit."""
    given = list(shapes)
    known = [shape for shape in given if shape is not None]
    if not known or len(known) < len(given):
        return None
    rank = max(map(len, known))
    axes = zip(*((1,) * (rank - len(shape)) + shape for shape in known), strict=True)
    joined = [_broadcast_axis(axis) for axis in axes]
    return None if None in joined else tuple(length for length in joined if length is not None)


def _broadcast_axis(axis: Sequence[Length]) -> Length | None:
    fixed = {length for length in axis if isinstance(length, int) and length != 1}
    free = [length for length in axis if isinstance(length, Free)]
    if len(fixed) > 1:
        return None
    if fixed:
        return fixed.pop()
    return Free(max(length.least for length in free)) if free else 1


def joined(one: Value, other: Value) -> Value:
    """Return what is known of a value that is one or the other."""
    shape: Shape | None = None
    if one.shape is not None and other.shape is not None and len(one.shape) == len(other.shape):
        shape = tuple(
            a if a == b and isinstance(a, int) else Free(min(least(a), least(b)))
            for a, b in zip(one.shape, other.shape, strict=True)
        )
    element_type = one.type if one.type == other.type else 0
    items = None
    if element_type and one.items is not None and other.items is not None and one.items.shape == other.items.shape:
        same = np.equal(one.items, other.items)
        items = np.full(one.items.shape, None, dtype=object)
        items[same] = one.items[same]
    return Value(element_type, shape, items, fixed=one.fixed and other.fixed)
