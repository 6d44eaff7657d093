"""Codec 2: byte planes. All first bytes of the elements, then all second bytes, and so on; what is no whole element follows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engram_format.codecs.interface import UNSIGNED, with_rest
from engram_format.errors import FormatError


class Planes:
    """Byte planes of elements of 2 to 255 bytes, the shuffle of HDF5 and Blosc."""

    NUMBER: ClassVar[int] = 2

    def __init__(self, *, item: int) -> None:
        self._item = item

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8."""
        return bytes((self._item,))

    def encode(self, data: bytes | memoryview) -> memoryview:
        """Put the planes side by side."""
        return to_planes(data, self._item)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes | memoryview:
        """Put the elements together again."""
        if len(parameters) != 1 or parameters[0] < 2:
            raise FormatError("a step of byte planes has parameters that cannot be")
        return from_planes(data, parameters[0])


def to_planes(data: bytes | memoryview, item: int) -> memoryview:
    """Return all first bytes of the elements of `item` bytes, then all second ones, ..., then what is left."""
    view = memoryview(data)
    count = len(view) // item
    out = np.empty((item, count), np.uint8)
    if item in UNSIGNED:
        # Shifting whole elements is several times as fast as gathering bytes.
        whole = np.frombuffer(view, UNSIGNED[item], count)
        out[0] = whole
        for plane in range(1, item):
            np.right_shift(whole, 8 * plane, out=out[plane], casting="unsafe")
    else:
        out[:] = np.frombuffer(view, np.uint8, count * item).reshape(count, item).T
    return with_rest(out, view[count * item :])


def from_planes(data: bytes | memoryview, item: int) -> bytes | memoryview:
    """Undo `to_planes`."""
    view = memoryview(data)
    count = len(view) // item
    planes = np.frombuffer(view, np.uint8, count * item).reshape(item, count)
    if item not in UNSIGNED:
        return with_rest(np.ascontiguousarray(planes.T).reshape(-1), view[count * item :])
    whole = planes[-1].astype(UNSIGNED[item])
    for plane in range(item - 2, -1, -1):
        whole <<= 8
        whole |= planes[plane]
    return with_rest(whole, view[count * item :])
