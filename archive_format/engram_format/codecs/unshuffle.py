"""Codec 10: HDF5's shuffle, undone. A run of chunks of equal length, each in byte planes, becomes the plain elements."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import ClassVar, Final

from engram_format.codecs.interface import NotApplicable
from engram_format.codecs.planes import from_planes, to_planes
from engram_format.errors import FormatError

_PARAMETERS: Final = struct.Struct("<BI")


class Unshuffle:
    """Whole chunks only: each is shuffled by itself."""

    NUMBER: ClassVar[int] = 10

    def __init__(self, *, item: int, chunk: int) -> None:
        self._item = item
        self._chunk = chunk

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8; the bytes of a chunk, u32."""
        return _PARAMETERS.pack(self._item, self._chunk)

    def encode(self, data: bytes | memoryview) -> bytes:
        """Put the elements of each chunk together."""
        if len(data) % self._chunk:
            raise NotApplicable
        return _by_chunk(data, self._chunk, lambda chunk: from_planes(chunk, self._item))

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Put each chunk in byte planes."""
        if len(parameters) != _PARAMETERS.size:
            raise FormatError("an unshuffle step has parameters that cannot be")
        item, chunk = _PARAMETERS.unpack(parameters)
        if item < 2 or not chunk or len(data) % chunk:
            raise FormatError("an unshuffle step has chunks that do not fit its bytes")
        return _by_chunk(data, chunk, lambda piece: to_planes(piece, item))


def _by_chunk(data: bytes | memoryview, chunk: int, change: Callable[[memoryview], bytes | memoryview]) -> bytes:
    view = memoryview(data)
    return b"".join(change(view[start : start + chunk]) for start in range(0, len(view), chunk))
