"""Codec 5: byte order. The bytes of each element in reverse, so that big-endian arrays are coded as little-endian ones."""

from __future__ import annotations

from typing import ClassVar

from engram_format.codecs.interface import element_bytes, elements, with_rest


class Swap:
    """Reversed bytes of elements."""

    NUMBER: ClassVar[int] = 5

    def __init__(self, *, item: int) -> None:
        self._item = item

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8."""
        return bytes((self._item,))

    def encode(self, data: bytes | memoryview) -> memoryview:
        """Reverse."""
        values, rest = elements(data, self._item)
        return with_rest(values.byteswap(), rest)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> memoryview:
        """Reverse again."""
        values, rest = elements(data, element_bytes(parameters, length=1, what="byte order"))
        return with_rest(values.byteswap(), rest)
