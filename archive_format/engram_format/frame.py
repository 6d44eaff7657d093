"""A frame: the unit of compression, encryption and deduplication, before it is encrypted (SPEC.md section 7).

A frame's plaintext tells by itself how to decode it: number of codec steps (1 byte); for each step, in the order of
encoding, its number (1 byte), the length of its parameters (1 byte) and these; the length of the original (4 bytes,
little-endian); the coded bytes. No step means that the bytes are kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final

from engram_format.array_type import Filter
from engram_format.codecs import FILE_FILTERS, Codec, NotApplicable, codec_by_number
from engram_format.errors import FormatError

MAX_FRAME_BYTES: Final = 16 * 2**20
"""The longest original of one frame."""
MAX_STEP_BYTES: Final = 24 * 2**20
"""The most that a step before the last may give back: a chunk of an array is longer than its deflated original."""

_MAX_STEPS: Final = 8


def encode_frame(original: bytes | memoryview, steps: Sequence[Codec]) -> bytes:
    """Return the plaintext of a frame: coded by `steps` where that makes it shorter, else kept.

    Raises `NotApplicable` where a step has no form for these bytes.
    """
    if len(original) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame holds at most {MAX_FRAME_BYTES} bytes, not {len(original)}")
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"a frame has at most {_MAX_STEPS} codec steps, not {len(steps)}")
    coded: bytes | memoryview = original
    for step in steps:
        coded = step.encode(coded)
        if len(coded) > MAX_STEP_BYTES:
            raise NotApplicable
    return shorter_frame(steps, coded, original)


def shorter_frame(steps: Sequence[Codec], coded: bytes | memoryview, original: bytes | memoryview) -> bytes:
    """Return the plaintext with what `steps` have made of an original, or with the original where that is not longer."""
    plaintext = join_frame(steps, coded, size=len(original))
    kept = 1 + 4 + len(original)
    return plaintext if len(plaintext) < kept else join_frame((), original)


def join_frame(steps: Sequence[Codec], coded: bytes | memoryview, *, size: int | None = None) -> bytes:
    """Return a frame's plaintext: what `steps` have made of an original of `size` bytes, with what a decoder must know."""
    chain = b"".join(bytes((step.NUMBER, len(step.parameters))) + step.parameters for step in steps)
    length = len(coded) if size is None else size
    return b"".join((bytes((len(steps),)), chain, length.to_bytes(4, "little"), coded))


def decode_frame(
    plaintext: bytes | memoryview, *, codec: Callable[[int], type[Codec]] = codec_by_number
) -> bytes | memoryview:
    """Return the original of a frame; raises `FormatError` where the plaintext is not a frame's."""
    chain, size, body = _read(plaintext, codec)
    coded: bytes | memoryview = body
    for step, (found, parameters) in enumerate(reversed(chain), start=1):
        limit = size if step == len(chain) else MAX_STEP_BYTES
        coded = found.decode(coded, parameters=parameters, limit=limit)
    if len(coded) != size:
        raise FormatError(f"a frame decodes to {len(coded)} bytes and declares {size}")
    return coded


def decode_frame_unfiltered(plaintext: bytes | memoryview) -> tuple[bytes | memoryview, tuple[Filter, ...]] | None:
    """Return the chunks of a frame as they were before filters of their file, and these filters in the order of writing.

    `None` where the frame holds them filtered. Whether these were all of the file's filters is for the caller to compare.
    A slice needs the elements only, and so spares to deflate and inflate them again. Raises `FormatError` as `decode_frame`.
    """
    chain, _, body = _read(plaintext, codec_by_number)
    coded: bytes | memoryview = body
    undone = list(takewhile(lambda step: step[0].NUMBER in FILE_FILTERS, chain))
    if not undone:
        return None
    for found, parameters in reversed(chain[len(undone) :]):
        coded = found.decode(coded, parameters=parameters, limit=MAX_STEP_BYTES)
    return coded, tuple(FILE_FILTERS[found.NUMBER](parameters) for found, parameters in reversed(undone))


def _read(
    plaintext: bytes | memoryview, codec: Callable[[int], type[Codec]]
) -> tuple[list[tuple[type[Codec], bytes]], int, memoryview]:
    """Return a frame's steps in the order of encoding, the size of its original, and its coded bytes."""
    view = memoryview(plaintext).toreadonly()  # the caller's, which no step may write to
    try:
        count, place, chain = view[0], 1, []
        if count > _MAX_STEPS:
            raise FormatError(f"a frame has {count} codec steps; at most {_MAX_STEPS} are allowed")
        for _ in range(count):
            number, length = view[place], view[place + 1]
            chain.append((codec(number), bytes(view[place + 2 : place + 2 + length])))
            place += 2 + length
        size = int.from_bytes(view[place : place + 4], "little")
    except IndexError as error:
        raise FormatError("a frame is damaged: it ends inside its head") from error
    if place + 4 > len(view) or size > MAX_FRAME_BYTES:
        raise FormatError(f"a frame declares {size} bytes in {len(view)}")
    return chain, size, view[place + 4 :]
