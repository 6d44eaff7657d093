"""Codec 1: Zstandard (RFC 8878), one frame with its content size declared."""

from __future__ import annotations

from typing import ClassVar, Final

import zstandard

from engram_format.errors import FormatError

_MAX_WINDOW_BYTES: Final = 8 * 2**20


class Zstd:
    """Compression at a level; the level is the encoder's choice and is not stored."""

    NUMBER: ClassVar[int] = 1

    def __init__(self, *, level: int = 1) -> None:
        self._level = level

    @property
    def parameters(self) -> bytes:
        """None are needed."""
        return b""

    def encode(self, data: bytes | memoryview) -> bytes:
        """Compress `data`."""
        return zstandard.ZstdCompressor(level=self._level, write_content_size=True).compress(data)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Decompress one Zstandard frame of at most `limit` bytes of content.

        The header is checked first: the library honours `max_output_size` only where the header declares no size, so that
        two kilobytes could become gigabytes.
        """
        if parameters:
            raise FormatError("a Zstandard step has no parameters")
        try:
            header = zstandard.get_frame_parameters(data)
            if header.content_size > limit or header.window_size > _MAX_WINDOW_BYTES:
                raise FormatError(
                    f"a Zstandard frame declares {header.content_size} bytes in a window of {header.window_size}, more than "
                    f"its {limit} bytes allow"
                )
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise FormatError(f"a Zstandard frame is damaged ({error})") from error
