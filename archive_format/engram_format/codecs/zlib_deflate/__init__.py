"""Deflate as classic zlib writes it, byte for byte, so that a stream that was stored inflated can be made again.

RFC 1951 leaves an encoder free; files hold what one encoder made of that freedom. This package follows zlib's published choices
(1.2.5 to 1.3.x; SPEC.md section 13), for machines whose zlib makes others: `matching` finds repetitions, `blocks` decides how
each block is written, `trees` builds its codes. Exactness is the purpose, speed is not.
"""

from __future__ import annotations

import zlib
from typing import Final

from engram_format.codecs.zlib_deflate.bits import BitStream
from engram_format.codecs.zlib_deflate.blocks import write_block
from engram_format.codecs.zlib_deflate.matching import find_blocks

__all__ = ["LEVELS", "MEM_LEVELS", "WINDOW_BITS", "deflate"]

LEVELS: Final = range(1, 10)
WINDOW_BITS: Final = range(8, 16)
MEM_LEVELS: Final = range(1, 10)

_METHOD: Final = 8


def deflate(data: bytes | memoryview, *, level: int, wbits: int, mem_level: int) -> bytes:
    """Return the zlib stream (RFC 1950) that `zlib.compressobj(level, zlib.DEFLATED, wbits, mem_level)` makes of all `data`.

    `level` is 1 to 9, `wbits` 8 to 15, `mem_level` 1 to 9; any other raises `ValueError`. Level 0 is none of them: where zlib cuts
    stored blocks depends on its release and on how much room its caller offers for output, so no stream is *the* stream.
    """
    if level not in LEVELS or wbits not in WINDOW_BITS or mem_level not in MEM_LEVELS:
        raise ValueError(
            f"a stream of level {level}, wbits {wbits} and mem_level {mem_level} cannot be made again (levels are 1 to 9, "
            "wbits 8 to 15, mem_levels 1 to 9); keep the stream as it is"
        )
    wbits = max(wbits, 9)  # zlib has never been able to write a window of 256 bytes
    stream = BitStream()
    stream.add_bytes(_header(level=level, wbits=wbits))
    for block in find_blocks(data, level=level, wbits=wbits, mem_level=mem_level):
        write_block(stream, block)
    stream.align()
    stream.add_bytes(zlib.adler32(data).to_bytes(4, "big"))  # a checksum, the same in every build
    return stream.getvalue()


def _header(*, level: int, wbits: int) -> bytes:
    """Return the two bytes that name the method, the window and, by a hint of two bits, the level."""
    hint = 0 if level == 1 else 1 if level < 6 else 2 if level == 6 else 3
    word = (wbits - 8) << 12 | _METHOD << 8 | hint << 6
    return (word + 31 - word % 31).to_bytes(2, "big")
