"""Codec 1: Zstandard (RFC 8878), one frame with its content size declared."""

from __future__ import annotations

from typing import ClassVar, Final

import zstandard

from engram_format.errors import FormatError

_MAX_WINDOW_BYTES: Final = 8 * 2**20
_NOISE_WINDOWS: Final = range(12, 16)
_NOISE_BLOCKS: Final = 8
"""Of noise at least so many blocks are made, of 4 to 32 KiB."""


class Zstd:
    """Compression at a level; the level is the encoder's choice and is not stored.

    For `noise`, such as what a prediction of samples has left, nothing is searched that could repeat: where the next bytes
    only seem to, telling so takes longer than the bytes do. Instead blocks are short, and the code follows how loud the noise is.
    """

    NUMBER: ClassVar[int] = 1

    def __init__(self, *, level: int = 1, noise: bool = False) -> None:
        self._level = level
        self._noise = noise

    @property
    def parameters(self) -> bytes:
        """None are needed."""
        return b""

    def encode(self, data: bytes | memoryview) -> bytes:
        """Compress `data`."""
        if self._noise:
            return _noise_compressor(len(data)).compress(data)
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


def _noise_compressor(size: int) -> zstandard.ZstdCompressor:
    """Return one that looks for hardly more than runs: what repeats must be long, and few places are remembered.

    Its blocks, which are as long as its window, are few beside `size` and not too long.
    """
    window = (size // _NOISE_BLOCKS).bit_length() - 1
    parameters = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        window_log=min(max(window, _NOISE_WINDOWS[0]), _NOISE_WINDOWS[-1]),
        hash_log=6,
        chain_log=6,
        search_log=1,
        min_match=7,
        target_length=0,
        write_content_size=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)
