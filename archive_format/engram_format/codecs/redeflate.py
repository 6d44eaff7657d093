"""Codec 11: deflate, undone. A run of zlib streams that each hold one chunk becomes the chunks, and the streams are made again.

zlib's output follows from the input and three numbers, but not from the standard: another library makes other bytes of it.
A checksum of the streams tells the decoder whether the library at hand makes the same; where it does not, `zlib_deflate`
does, slowly (SPEC.md section 13).
"""

from __future__ import annotations

import contextlib
import functools
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final

from engram_format.codecs.interface import NotApplicable, require_limit
from engram_format.errors import FormatError

_PARAMETERS: Final = struct.Struct("<BBBII")
_LEVELS_BY_HINT: Final = ((1,), (4, 5, 3, 2), (6,), (9, 8, 7))
"""zlib writes into each stream which of four groups its level is of. Level 0 is left out: its streams differ between releases."""
_LARGEST_CHUNK: Final = 16 * 2**20
_LEAST_STREAM_BYTES: Final = 8
_SAMPLE_BYTES: Final = 32 * 1024


class Redeflate:
    """Streams of one level, window and memory, whose chunks have the same length."""

    NUMBER: ClassVar[int] = 11

    def __init__(self, *, level: int, window_bits: int, memory: int, chunk: int, pieces: Sequence[int]) -> None:
        self._settings = (level, window_bits, memory, chunk)
        self._pieces = pieces
        self._check = 0

    @property
    def parameters(self) -> bytes:
        """Level, window bits, memory level, u8 each; the bytes of a chunk, u32; CRC-32 of all streams, u32."""
        return _PARAMETERS.pack(*self._settings, self._check)

    def encode(self, data: bytes | memoryview) -> bytes:
        """Inflate; whether the same streams come back is for the caller to compare, who decodes in any case."""
        chunk = self._settings[3]
        view, chunks, start = memoryview(data), [], 0
        for size in self._pieces:
            chunks.append(_inflated(view[start : start + size], chunk))
            start += size
        if start != len(view):
            raise NotApplicable
        self._check = zlib.crc32(view)
        return b"".join(chunks)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Deflate again, with the zlib at hand or, if that makes other bytes, with our own."""
        try:
            return RedeflateHere.decode(data, parameters=parameters, limit=limit)
        except _OtherZlibError as error:
            if _is_classic():
                raise FormatError("a deflate step does not make the streams that its checksum tells of") from error
            from engram_format.codecs.zlib_deflate import deflate  # seldom needed, and long

            return _streams(data, parameters, limit, deflate)


class RedeflateHere(Redeflate):
    """The same codec for a depositor, who keeps a stream as it is rather than make it slowly."""

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Deflate again with the zlib at hand; raises `FormatError` if that makes other bytes."""
        return _streams(data, parameters, limit, _deflate)


def redeflate_settings(streams: Sequence[bytes | memoryview], *, chunk: int) -> tuple[int, int, int]:
    """Return level, window bits and memory level with which zlib makes these streams; raises `NotApplicable` if it never does.

    Several levels may make the same of one chunk; a few chunks tell them apart.
    """
    if chunk > _LARGEST_CHUNK or not streams or len(streams[0]) < _LEAST_STREAM_BYTES:
        raise NotApplicable
    chunks = [_inflated(memoryview(stream), chunk) for stream in streams]
    first = streams[0]
    window_bits, hint = (first[0] >> 4) + 8, first[1] >> 6
    hinted = _LEVELS_BY_HINT[hint]
    levels = (*hinted, *(level for level in range(1, 10) if level not in hinted))
    for memory in (8, 9):
        for level in levels:
            with contextlib.suppress(ValueError):
                made = (_deflate(plain, level=level, wbits=window_bits, mem_level=memory) for plain in chunks)
                if all(again == stream for again, stream in zip(made, streams, strict=True)):
                    return level, window_bits, memory
    raise NotApplicable


class _OtherZlibError(FormatError):
    """The library at hand makes other bytes."""


@functools.cache
def _is_classic() -> bool:
    """Tell whether the library at hand makes the streams of section 13: what it made wrong is then damaged, not its fault.

    Asked once, and only after a checksum did not fit; without it, damage would cost a reader minutes.
    """
    from engram_format.codecs.zlib_deflate import LEVELS, deflate

    noise = bytes((seed * seed * 31 + seed // 7) % 251 for seed in range(_SAMPLE_BYTES // 2))
    sample = noise + (b"stimulus in, response out; " * _SAMPLE_BYTES)[: _SAMPLE_BYTES // 2]
    settings = {"wbits": 15, "mem_level": 8}
    return all(
        _deflate(sample, level=level, **settings) == deflate(sample, level=level, **settings) for level in LEVELS
    )


def _inflated(stream: memoryview, chunk: int) -> bytes:
    machine = zlib.decompressobj()
    try:
        plain = machine.decompress(stream, chunk + 1)
    except zlib.error as error:
        raise NotApplicable from error
    if len(plain) != chunk or not machine.eof or machine.unused_data:
        raise NotApplicable
    return plain


def _deflate(data: bytes | memoryview, *, level: int, wbits: int, mem_level: int) -> bytes:
    machine = zlib.compressobj(level, zlib.DEFLATED, wbits, mem_level)
    return machine.compress(data) + machine.flush()


def _streams(data: bytes | memoryview, parameters: bytes, limit: int, deflate: Callable[..., bytes]) -> bytes:
    if len(parameters) != _PARAMETERS.size:
        raise FormatError("a deflate step has parameters that cannot be")
    level, window_bits, memory, chunk, check = _PARAMETERS.unpack(parameters)
    if not 1 <= level <= 9 or not 8 <= window_bits <= 15 or not 1 <= memory <= 9 or not chunk or len(data) % chunk:
        raise FormatError("a deflate step has parameters that cannot be")
    view = memoryview(data)
    made, size = [], 0
    for stream in _each(view, chunk, level, window_bits, memory, deflate):
        size += len(stream)
        require_limit(size, limit, what="deflate")
        made.append(stream)
    streams = b"".join(made)
    if zlib.crc32(streams) != check:
        raise _OtherZlibError("the zlib of this machine makes other streams than those that were deposited")
    return streams


def _each(
    view: memoryview, chunk: int, level: int, window_bits: int, memory: int, deflate: Callable[..., bytes]
) -> Iterator[bytes]:
    for start in range(0, len(view), chunk):
        try:
            yield deflate(view[start : start + chunk], level=level, wbits=window_bits, mem_level=memory)
        except ValueError as error:
            raise FormatError(f"a deflate step has parameters that cannot be ({error})") from error
