"""Codec 6: 24-bit integers as 32-bit ones, which the steps after it can count with."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engram_format.codecs.interface import require_limit
from engram_format.errors import FormatError

_NARROW: Final = 3
_WIDE: Final = 4


class Widen:
    """A fourth byte for each element of three, all ones where the number is negative; what is no whole element follows."""

    NUMBER: ClassVar[int] = 6

    @property
    def parameters(self) -> bytes:
        """None are needed."""
        return b""

    def encode(self, data: bytes | memoryview) -> bytes:
        """Add the fourth bytes."""
        view = memoryview(data)
        count = len(view) // _NARROW
        out = np.empty((count, _WIDE), np.uint8)
        out[:, :_NARROW] = np.frombuffer(view, np.uint8, count * _NARROW).reshape(count, _NARROW)
        np.multiply(out[:, 2] >> 7, 255, out=out[:, 3])
        return out.tobytes() + bytes(view[count * _NARROW :])

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Drop the fourth bytes."""
        if parameters:
            raise FormatError("a step of 24-bit integers has no parameters")
        view = memoryview(data)
        count, rest = divmod(len(view), _WIDE)
        # An encoder leaves at most two bytes that are no whole element, which must not be taken for one of four.
        if rest == _NARROW:
            raise FormatError("a step of 24-bit integers has bytes that are no elements")
        require_limit(count * _NARROW + rest, limit, what="24-bit integer")
        wide = np.frombuffer(view, np.uint8, count * _WIDE).reshape(count, _WIDE)
        return np.ascontiguousarray(wide[:, :_NARROW]).tobytes() + bytes(view[count * _WIDE :])
