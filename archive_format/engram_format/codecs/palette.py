"""Codec 7: a palette. Elements of at most 65,536 distinct values, as digitised ones held as floats are, become their numbers."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engram_format.codecs.interface import UNSIGNED, NotApplicable, elements, require_limit
from engram_format.errors import FormatError

_MAX_COLORS: Final = 2**16
_INDEX: Final = np.dtype("<u2")
_SAMPLE: Final = 16_384
_HEAD: Final = 4


class Palette:
    """The numbers (u16) of the elements in a table of distinct values, then the table, then its length (u32).

    The table is sorted by the value of the floats, so that small steps of the signal are small steps of the numbers.
    """

    NUMBER: ClassVar[int] = 7

    def __init__(self, *, item: int) -> None:
        self._item = item

    @property
    def parameters(self) -> bytes:
        """The bytes of an element, u8: 4 or 8."""
        return bytes((self._item,))

    def encode(self, data: bytes | memoryview) -> bytes:
        """Replace the values by their numbers; not applicable where there are too many to gain by it."""
        values, rest = elements(data, self._item)
        if len(rest) or not len(values):
            raise NotApplicable
        # Most arrays have far too many values, which a small part shows.
        if 4 * len(np.unique(values[:_SAMPLE])) > 3 * min(len(values), _SAMPLE) > 3 * 64:
            raise NotApplicable
        table, numbers = np.unique(values, return_inverse=True)
        if len(table) > _MAX_COLORS or 4 * len(table) > max(len(values), 4 * 64):
            raise NotApplicable
        order = np.argsort(table.view(f"<f{self._item}"), kind="stable")
        rank = np.empty(len(table), _INDEX)
        rank[order] = np.arange(len(table), dtype=np.uint32).astype(_INDEX)
        return b"".join((rank[numbers].tobytes(), table[order].tobytes(), len(table).to_bytes(_HEAD, "little")))

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Look the numbers up."""
        if len(parameters) != 1 or parameters[0] not in (4, 8) or len(data) < _HEAD:
            raise FormatError("a palette step has parameters that cannot be, or no table")
        item = parameters[0]
        view = memoryview(data)
        colors = int.from_bytes(view[-_HEAD:], "little")
        numbered = len(view) - _HEAD - colors * item
        if not 1 <= colors <= _MAX_COLORS or numbered < 0 or numbered % 2:
            raise FormatError("a palette step has a table that does not fit its numbers")
        require_limit(numbered // 2 * item, limit, what="palette")
        numbers = np.frombuffer(view, _INDEX, numbered // 2)
        if len(numbers) and int(numbers.max()) >= colors:
            raise FormatError("a palette step has a number that is not in its table")
        table = np.frombuffer(view, UNSIGNED[item], colors, numbered)
        looked_up: bytes = table[numbers].tobytes()
        return looked_up
