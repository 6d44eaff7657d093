"""Codec 4: zigzag. Signed elements 0, -1, 1, -2, ... become unsigned 0, 1, 2, 3, ..., so that small ones have empty high bytes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engram_format.codecs.interface import element_bytes, elements, with_rest


class Zigzag:
    """Sign and magnitude, interleaved."""

    NUMBER: ClassVar[int] = 4

    def __init__(self, *, item: int) -> None:
        self._item = item

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8."""
        return bytes((self._item,))

    def encode(self, data: bytes | memoryview) -> memoryview:
        """Interleave."""
        values, rest = elements(data, self._item)
        signs = values.view(f"<i{self._item}") >> (8 * self._item - 1)
        doubled = values << 1
        doubled ^= signs.view(values.dtype)
        return with_rest(doubled, rest)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> memoryview:
        """Take apart."""
        item = element_bytes(parameters, length=1, what="zigzag")
        values, rest = elements(data, item)
        signs = values & 1
        np.negative(signs, out=signs)
        found = np.right_shift(values, 1, out=values if values.flags.writeable else None)
        found ^= signs
        return with_rest(found, rest)
