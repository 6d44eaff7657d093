"""Codec 3: differences. Each element less the one `lag` elements before it, modulo 2^bits; the first `lag` stay."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engram_format.codecs.interface import Elements, element_bytes, elements, require_limit, with_rest
from engram_format.errors import FormatError

_WHAT: Final = "difference"
_REACH_BYTES: Final = 2**15


class Delta:
    """Differences along time (`lag` is the count of channels side by side), or between neighbours (`lag` 1)."""

    NUMBER: ClassVar[int] = 3

    def __init__(self, *, item: int, lag: int = 1) -> None:
        self._item = item
        self._lag = lag

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8; the lag, u32."""
        return bytes((self._item,)) + self._lag.to_bytes(4, "little")

    def encode(self, data: bytes | memoryview) -> memoryview:
        """Take the differences."""
        values, rest = elements(data, self._item)
        out = np.empty_like(values)
        out[: self._lag] = values[: self._lag]
        np.subtract(values[self._lag :], values[: -self._lag], out=out[self._lag :])
        return with_rest(out, rest)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> memoryview:
        """Add up."""
        item = element_bytes(parameters, length=5, what=_WHAT)
        lag = int.from_bytes(parameters[1:], "little")
        if not lag:
            raise FormatError("a difference step has a lag of 0")
        require_limit(len(data), limit, what=_WHAT)
        steps, rest = elements(data, item)
        return with_rest(running_sums(steps, lag), rest)


def running_sums(steps: Elements, lag: int) -> Elements:
    """Return for each element the sum of it and of all that lie a multiple of `lag` before it, modulo their width.

    numpy's own `accumulate` adds element by element, which takes twice as long as this: each pass doubles how many elements
    are in a sum, all at once, until so many bytes lie between a sum and the one that it is to be added to that a few
    additions, one after the other, do the rest.
    """
    sums, spare, reach = steps, None, lag
    while reach < len(steps) and reach * steps.itemsize < _REACH_BYTES:
        longer = np.empty_like(steps) if spare is None else spare
        longer[:reach] = sums[:reach]
        np.add(sums[reach:], sums[:-reach], out=longer[reach:])
        sums, spare = longer, sums if sums.flags.writeable else None
        reach *= 2
    if not sums.flags.writeable:
        sums = sums.copy()
    for start in range(reach, len(sums), reach):
        part = sums[start : start + reach]
        part += sums[start - reach : start - reach + len(part)]
    return sums
