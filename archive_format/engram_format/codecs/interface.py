"""What a codec is."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import FormatError

Elements = NDArray[Any]
"""Unsigned integers of one of four widths, little-endian."""

UNSIGNED: Final[dict[int, np.dtype[Any]]] = {item: np.dtype(f"<u{item}") for item in (1, 2, 4, 8)}
"""Elements are handled as unsigned integers, so that no NaN is quietened and no -0.0 loses its sign."""


class Codec(Protocol):
    """One step of a frame's codec chain.

    `parameters` travel with the frame; a decoder needs nothing else. Numbers are never given twice.
    """

    NUMBER: ClassVar[int]

    @property
    def parameters(self) -> bytes:
        """What a decoder must know, at most 255 bytes; may be asked for only after `encode`."""
        ...

    def encode(self, data: bytes | memoryview) -> bytes | memoryview:
        """Return the coded form; raises `NotApplicable` where these bytes have none."""
        ...

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes | memoryview:
        """Return the original, of at most `limit` bytes; raises `FormatError`, before allocating, where it would be longer.

        `data` that can be written to is the step's own from now on: it may be used for the result.
        """
        ...


class NotApplicable(Exception):
    """These bytes have no form in this codec: another chain must be taken."""


def element_bytes(parameters: bytes, *, length: int, what: str) -> int:
    """Return the bytes of an element, the first parameter of those that have `length` bytes; raises `FormatError`."""
    if len(parameters) != length or parameters[0] not in UNSIGNED:
        raise FormatError(f"a {what} step has parameters that cannot be")
    return parameters[0]


def require_limit(size: int, limit: int, *, what: str) -> None:
    """Raise `FormatError` where a step would give back more than may come of it."""
    if size > limit:
        raise FormatError(f"a {what} step would give {size} bytes where at most {limit} may come")


def elements(data: bytes | memoryview, item: int) -> tuple[Elements, memoryview]:
    """Return the whole elements of `item` bytes, and the bytes that are left at the end."""
    view = memoryview(data)
    count = len(view) // item
    return np.frombuffer(view, UNSIGNED[item], count), view[count * item :]


def with_rest(array: Elements, rest: memoryview) -> memoryview:
    """Return an array's bytes, little-endian, and after them the rest."""
    body = array.data.cast("B") if array.size else memoryview(b"")
    return memoryview(b"".join((body, rest))) if len(rest) else body
