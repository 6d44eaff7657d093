"""The filters that HDF5 applies to a chunk, undone: deflate, shuffle and Fletcher32 (SPEC.md section 9)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from engram_format.array_type import Filter
from engram_format.errors import FormatError, InvalidInput

_KNOWN = frozenset({"deflate", "shuffle", "fletcher32"})
_CHECKSUM_BYTES = 4
_DEFLATED_PIECE = 2**16
_INFLATED_PIECE = 2**20
_SUMMED_WORDS = 2**16
"""Words summed at once: their running sums cannot overflow 64 bits."""


def check_filters(filters: Sequence[Filter], *, what: str) -> None:
    """Raise `InvalidInput` if there is a filter that is not known here."""
    for step in filters:
        if step.name not in _KNOWN:
            raise InvalidInput(
                f"{what} is filtered with {step.name}, which only the libraries of its file can undo: read it through "
                "'.open()' with h5py, or restore the file"
            )


def unfilter(
    stored: bytes | memoryview, filters: Sequence[Filter], *, mask: int, size: int, item: int, what: str
) -> bytes | memoryview:
    """Return the `size` bytes of a chunk before `filters` were applied, those excepted whose bit is set in `mask`.

    Raises `FormatError` where a checksum does not fit, or where the chunk has another size; never makes more than that.
    """
    applied = [step for number, step in enumerate(filters) if not mask >> number & 1]
    data = stored
    for place in range(len(applied) - 1, -1, -1):
        # A checksum that was applied before this step is still in the bytes that come out of it.
        limit = size + _CHECKSUM_BYTES * sum(step.name == "fletcher32" for step in applied[:place])
        match applied[place]:
            case Filter("deflate"):
                data = _inflated(data, limit=limit, what=what)
            case Filter("shuffle", parameters):
                data = _unshuffled(data, parameters[0] if parameters else item)
            case Filter("fletcher32"):
                data = _checked(data, what=what)
            case _:
                check_filters(applied, what=what)
    if len(data) != size:
        raise FormatError(f"a chunk of {what} has {len(data)} bytes and not {size}")
    return data


def _inflated(data: bytes | memoryview, *, limit: int, what: str) -> memoryview:
    """Return what was deflated, of at most `limit` bytes: piece by piece, for zlib itself holds a long chunk twice."""
    inflated, size = np.empty(limit, np.uint8), 0
    for piece in _pieces_inflated(memoryview(data), what=what):
        if size + len(piece) > limit:
            raise FormatError(f"a chunk of {what} inflates to more than its {limit} bytes")
        inflated[size : size + len(piece)] = np.frombuffer(piece, np.uint8)
        size += len(piece)
    return inflated[:size].data


def _pieces_inflated(data: memoryview, *, what: str) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    try:
        for start in range(0, len(data), _DEFLATED_PIECE):
            rest: bytes | memoryview = data[start : start + _DEFLATED_PIECE]
            while len(rest) and not stream.eof:
                yield stream.decompress(rest, _INFLATED_PIECE)
                rest = stream.unconsumed_tail
        while not stream.eof and (piece := stream.decompress(b"", _INFLATED_PIECE)):
            yield piece
    except zlib.error as error:
        raise FormatError(f"a chunk of {what} is not what deflate writes: {error}") from error
    if not stream.eof:
        raise FormatError(f"a chunk of {what} is cut: what was deflated has no end")


def _unshuffled(data: bytes | memoryview, width: int) -> bytes | memoryview:
    """Return elements of `width` bytes from all their first bytes, all their second bytes, and so on."""
    count = len(data) // width if width > 1 else 0
    if count < 2:
        return data
    whole = np.frombuffer(data, np.uint8, count * width).reshape(width, count)
    elements = np.ascontiguousarray(whole.T).data.cast("B")
    rest = len(data) - count * width
    return b"".join((elements, data[-rest:])) if rest else elements  # bytes that fill no element stay where they are


def _checked(data: bytes | memoryview, *, what: str) -> memoryview:
    """Return the bytes before their Fletcher32 checksum, which must fit."""
    view = memoryview(data)
    body, stored = view[:-_CHECKSUM_BYTES], int.from_bytes(view[-_CHECKSUM_BYTES:], "little")
    if len(view) < _CHECKSUM_BYTES or fletcher32(body) not in (stored, _byte_swapped(stored)):
        raise FormatError(f"a chunk of {what} does not have the checksum that was stored with it")
    return body


def fletcher32(data: bytes | memoryview) -> int:
    """Return HDF5's Fletcher32 of some bytes: sums of big-endian 16-bit words, modulo 65535."""
    padded = bytes(data) + b"\0" if len(data) % 2 else data
    words = np.frombuffer(padded, ">u2")
    low = high = 0
    for first in range(0, len(words), _SUMMED_WORDS):
        part = words[first : first + _SUMMED_WORDS].astype(np.uint64)
        # Every word is added to the second sum once for itself and once for each word after it.
        weights = np.arange(len(part), 0, -1, dtype=np.uint64)
        high = (high + len(part) * low + int(part @ weights)) % 65535
        low = (low + int(part.sum())) % 65535
    return (high or _full(words)) << 16 | (low or _full(words))


def _full(words: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> int:
    """Return how a sum that is 0 modulo 65535 is written: as 65535, unless all words are 0."""
    return 65535 if words.any() else 0


def _byte_swapped(checksum: int) -> int:
    """Return a checksum as old releases of HDF5 wrote it on little-endian machines: each half with its bytes swapped."""
    return (checksum & 0x00FF00FF) << 8 | checksum >> 8 & 0x00FF00FF
