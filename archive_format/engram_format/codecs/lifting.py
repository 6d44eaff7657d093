"""Codec 12: lifting. Every second row less what its neighbours on both sides let expect, again and again on the rows between.

A difference doubles the noise of what it is taken of. Here a row is expected from the four around it, which carry little noise
in, and the rows that stay take part of what was found back, so that they are quieter than they were: an integer wavelet of the
kind of Calderbank, Daubechies, Sweldens and Yeo (1998). Both directions work on whole arrays at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from engram_format.codecs.delta import running_sums
from engram_format.codecs.interface import UNSIGNED, Elements, element_bytes, elements, require_limit, with_rest
from engram_format.errors import FormatError

_WHAT: Final = "lifting"
_MAX_LEVELS: Final = 16
_SIGNED: Final = {item: np.dtype(f"<i{item}") for item in UNSIGNED}
_SHORT_ROW_BYTES: Final = 2
"""Pairs of rows as short as that are taken apart as numbers, several times as fast as every second one is gathered."""


class Lifting:
    """Rows of `lag` elements, halved `levels` times into those that are kept and what the others are more than expected."""

    NUMBER: ClassVar[int] = 12

    def __init__(self, *, item: int, lag: int = 1, levels: int = 4) -> None:
        self._item = item
        self._lag = lag
        self._levels = levels

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8; the lag, u32; how often rows are halved, u8."""
        return b"".join((bytes((self._item,)), self._lag.to_bytes(4, "little"), bytes((self._levels,))))

    def encode(self, data: bytes | memoryview) -> memoryview:
        """Put the differences of the rows kept last first, then the surprises, those found first last."""
        lag = self._lag
        values, rest = elements(data, self._item)
        out = np.empty_like(values)
        end = len(values) // lag * lag
        out[end:] = values[end:]
        kept = values[:end]
        for rows in _halvings(len(kept) // lag, self._levels):
            surprises = out[end - rows // 2 * lag : end]
            evens = np.empty(len(kept) - len(surprises), values.dtype)
            _separate(kept, evens=evens, odds=surprises, lag=lag)
            surprises -= _expected(evens, lag=lag, rows=rows // 2)
            evens += _correction(surprises, lag=lag, size=len(evens))
            end -= len(surprises)
            kept = evens
        out[: min(lag, end)] = kept[:lag]
        np.subtract(kept[lag:], kept[:-lag], out=out[lag:end])
        return with_rest(out, rest)

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> memoryview:
        """Put the rows between each other again, the ones found last first."""
        item = element_bytes(parameters, length=6, what=_WHAT)
        lag, levels = int.from_bytes(parameters[1:5], "little"), parameters[5]
        if not lag or not 1 <= levels <= _MAX_LEVELS:
            raise FormatError("a lifting step has a lag of 0, or a number of levels that cannot be")
        require_limit(len(data), limit, what=_WHAT)
        values, rest = elements(data, item)
        whole = len(values) // lag * lag
        halvings = _halvings(whole // lag, levels)
        begin = whole - sum(rows // 2 for rows in halvings) * lag
        kept = running_sums(values[:begin], lag) if whole else values[:0]
        for rows in reversed(halvings):
            surprises = values[begin : begin + rows // 2 * lag]
            evens = kept - _correction(surprises, lag=lag, size=len(kept))
            kept = _together(evens, _expected(evens, lag=lag, rows=rows // 2) + surprises, lag=lag)
            begin += len(surprises)
        return with_rest(np.concatenate((kept, values[whole:])) if whole < len(values) else kept, rest)


def _halvings(rows: int, levels: int) -> list[int]:
    """Return the number of rows before each halving: as many as there are levels, while there are two rows."""
    found: list[int] = []
    while rows > 1 and len(found) < levels:
        found.append(rows)
        rows -= rows // 2
    return found


def _expected(evens: Elements, *, lag: int, rows: int) -> Elements:
    """Return the row behind each of the first so many even ones, as two on both sides of it let expect.

    Steps between rows are signed and beyond the ends zero. One sixteenth of the outer ones, one half of the inner one.
    """
    steps = np.empty(len(evens) + 2 * lag, evens.dtype)
    steps[:lag] = 0
    np.subtract(evens[lag:], evens[:-lag], out=steps[lag : -2 * lag])
    steps[-2 * lag :] = 0
    signed, size = _signed(steps), rows * lag
    found = signed[:size] - signed[2 * lag : 2 * lag + size]
    found >>= 3
    found += signed[lag : lag + size]
    found += 1
    found >>= 1
    expected: Elements = found.view(evens.dtype)
    expected += evens[:size]
    return expected


def _correction(surprises: Elements, *, lag: int, size: int) -> Elements:
    """Return what each even row takes back: a quarter of the surprises before and behind it; beyond the ends are none."""
    found = np.empty(size, surprises.dtype)
    found[:lag] = surprises[:lag]
    np.add(surprises[lag:], surprises[:-lag], out=found[lag : len(surprises)])
    if size > len(surprises):
        found[len(surprises) :] = surprises[-lag:]
    found += 2
    signed = _signed(found)
    signed >>= 2
    return found


def _signed(values: Elements) -> Any:  # noqa: ANN401 - numpy's own type for "integers of some width"
    return values.view(_SIGNED[values.itemsize])


def _separate(rows: Elements, *, evens: Elements, odds: Elements, lag: int) -> None:
    """Copy the rows of even number to one place, and the others to another."""
    whole, even, odd = (_as_rows(part, lag) for part in (rows, evens, odds))
    if whole.itemsize <= _SHORT_ROW_BYTES:
        pairs, width = _as_pairs(whole[: 2 * len(odd)])
        even[: len(odd)] = pairs
        even[len(odd) :] = whole[2 * len(odd) :]
        odd[:] = pairs >> width
    else:
        even[:], odd[:] = whole[0::2], whole[1::2]


def _together(evens: Elements, odds: Elements, *, lag: int) -> Elements:
    """Return the rows in order."""
    rows = np.empty(len(evens) + len(odds), evens.dtype)
    whole, even, odd = (_as_rows(part, lag) for part in (rows, evens, odds))
    if whole.itemsize <= _SHORT_ROW_BYTES:
        pairs, width = _as_pairs(whole[: 2 * len(odd)])
        pairs[:] = odd
        pairs <<= width
        pairs |= even[: len(odd)]
        whole[2 * len(odd) :] = even[len(odd) :]
    else:
        whole[0::2], whole[1::2] = even, odd
    return rows


def _as_rows(values: Elements, lag: int) -> Any:  # noqa: ANN401 - elements as wide as a row, numbers or not
    return values.view(_row_type(lag * values.itemsize))


@lru_cache(maxsize=64)
def _row_type(width: int) -> np.dtype[Any]:
    return UNSIGNED.get(width) or np.dtype(f"V{width}")


def _as_pairs(rows: Elements) -> tuple[Elements, int]:
    """Return two short rows at a time as one number, and by how many bits the second is shifted in it."""
    return rows.view(UNSIGNED[2 * rows.itemsize]), 8 * rows.itemsize
