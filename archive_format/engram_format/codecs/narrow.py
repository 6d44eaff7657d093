"""Codec 9: float32 held as float64. Where every element is one, it becomes one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engram_format.codecs.interface import NotApplicable, require_limit
from engram_format.errors import FormatError


class Narrow:
    """The float32 of each float64, compared bit by bit when it is encoded."""

    NUMBER: ClassVar[int] = 9

    @property
    def parameters(self) -> bytes:
        """None are needed."""
        return b""

    def encode(self, data: bytes | memoryview) -> bytes:
        """Narrow; not applicable where an element would lose a bit."""
        if len(data) % 8:
            raise NotApplicable
        wide = np.frombuffer(data, "<f8")
        with np.errstate(all="ignore"):
            narrow = wide.astype("<f4")
            if not (narrow.astype("<f8").view(np.uint64) == wide.view(np.uint64)).all():
                raise NotApplicable
        return narrow.tobytes()

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Widen."""
        if parameters or len(data) % 4:
            raise FormatError("a float32 step has parameters, or bytes that are no elements")
        require_limit(2 * len(data), limit, what="float32")
        with np.errstate(all="ignore"):
            return np.frombuffer(data, "<f4").astype("<f8").tobytes()
