"""Codec 3: differences. Each element less the one `lag` elements before it, modulo 2^bits; the first `lag` stay."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engram_format.codecs.interface import Elements, element_bytes, elements, require_limit, with_rest
from engram_format.errors import FormatError

_WHAT: Final = "difference"
_BLOCK: Final = 16


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
        rows = len(steps) // lag
        whole = rows * lag
        out = np.empty_like(steps)
        if rows:
            out[:whole].reshape(rows, lag)[:] = running_sums(steps[:whole].reshape(rows, lag))
        out[whole:] = steps[whole:]
        if rows and whole < len(steps):
            out[whole:] += out[whole - lag : len(steps) - lag]
        return with_rest(out, rest)


def running_sums(steps: Elements) -> Elements:
    """Return the sums of all rows up to each one: (rows, lag), modulo the width of the elements.

    numpy's own `accumulate` adds element by element. Blocks of a few rows, added up side by side, need a third of the time.
    """
    rows, lag = steps.shape
    blocks = rows // _BLOCK
    if not blocks:
        return np.add.accumulate(steps, axis=0, dtype=steps.dtype)
    sums = np.empty_like(steps)
    inside = blocks * _BLOCK
    block = sums[:inside].reshape(blocks, _BLOCK, lag)
    told = steps[:inside].reshape(blocks, _BLOCK, lag)
    block[:, 0] = told[:, 0]
    for row in range(1, _BLOCK):
        np.add(block[:, row - 1], told[:, row], out=block[:, row])
    before = np.add.accumulate(block[:, -1], axis=0, dtype=steps.dtype)
    block[1:] += before[:-1, None]
    if inside < rows:
        np.add.accumulate(steps[inside:], axis=0, dtype=steps.dtype, out=sums[inside:])
        sums[inside:] += before[-1]
    return sums
