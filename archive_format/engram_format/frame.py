"""A frame: the unit of compression, encryption and deduplication, before it is encrypted (SPEC.md section 7).

A frame's plaintext tells by itself how to decode it: number of codec steps (1 byte); for each step, in the order of
encoding, its number (1 byte), the length of its parameters (1 byte) and these; the length of the original (4 bytes,
little-endian); the coded bytes. No step means that the bytes are kept as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engram_format.codecs import Codec, codec_by_number
from engram_format.errors import FormatError

MAX_FRAME_BYTES: Final = 4 * 2**20
"""The longest original of one frame."""

_MAX_STEPS: Final = 8
_ROOM_FOR_FILTERS: Final = 4096
"""A filter step may add this much to what it passes on (the final original never exceeds its declared length)."""


def encode_frame(original: bytes | memoryview, steps: Sequence[Codec]) -> bytes:
    """Return the plaintext of a frame: coded by `steps` where that makes it shorter, else kept."""
    if len(original) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame holds at most {MAX_FRAME_BYTES} bytes, not {len(original)}")
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"a frame has at most {_MAX_STEPS} codec steps, not {len(steps)}")
    coded: bytes | memoryview = original
    for step in steps:
        coded = step.encode(coded)
    used = steps if len(coded) < len(original) else ()
    chain = b"".join(bytes((step.NUMBER, len(step.parameters))) + step.parameters for step in used)
    head = bytes((len(used),)) + chain + len(original).to_bytes(4, "little")
    return b"".join((head, coded if used else original))


def decode_frame(plaintext: bytes | memoryview) -> bytes | memoryview:
    """Return the original of a frame; raises `FormatError` where the plaintext is not a frame's."""
    view = memoryview(plaintext)
    try:
        count, place, chain = view[0], 1, []
        if count > _MAX_STEPS:
            raise FormatError(f"a frame has {count} codec steps; at most {_MAX_STEPS} are allowed")
        for _ in range(count):
            number, length = view[place], view[place + 1]
            chain.append((codec_by_number(number), bytes(view[place + 2 : place + 2 + length])))
            place += 2 + length
        size = int.from_bytes(view[place : place + 4], "little")
        coded: bytes | memoryview = view[place + 4 :]
        if place + 4 > len(view) or size > MAX_FRAME_BYTES:
            raise FormatError(f"a frame declares {size} bytes in {len(view)}")
    except IndexError as error:
        raise FormatError("a frame is damaged: it ends inside its head") from error
    for step, (codec, parameters) in enumerate(reversed(chain), start=1):
        limit = size if step == len(chain) else size + _ROOM_FOR_FILTERS
        coded = codec.decode(coded, parameters=parameters, limit=limit)
    if len(coded) != size:
        raise FormatError(f"a frame decodes to {len(coded)} bytes and declares {size}")
    return coded
