"""The interface of a codec, and the table of numbers."""

from __future__ import annotations

from typing import ClassVar, Protocol

from engram_format.codecs.zstd import Zstd
from engram_format.errors import FormatError


class Codec(Protocol):
    """One step of a frame's codec chain.

    `parameters` travel with the frame; a decoder needs nothing else. Numbers are never given twice.
    """

    NUMBER: ClassVar[int]

    @property
    def parameters(self) -> bytes:
        """What a decoder must know, at most 255 bytes."""
        ...

    def encode(self, data: bytes | memoryview) -> bytes:
        """Return the coded form."""
        ...

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Return the original, of at most `limit` bytes; raises `FormatError`, before allocating, where it would be longer."""
        ...


_CODECS: dict[int, type[Codec]] = {Zstd.NUMBER: Zstd}


def codec_by_number(number: int) -> type[Codec]:
    """Return the codec with a number; raises `FormatError` where this version knows none."""
    try:
        return _CODECS[number]
    except KeyError as error:
        raise FormatError(f"a frame uses codec {number}, which this version of Engram does not know") from error
