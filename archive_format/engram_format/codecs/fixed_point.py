"""Codec 8: fixed point. Whole multiples of one step, held as float64, become integers: times in sampling intervals, decimals."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from engram_format.codecs.interface import NotApplicable, elements
from engram_format.errors import FormatError

_DIVIDED: Final = 0
_MULTIPLIED: Final = 1
_PARAMETERS: Final = struct.Struct("<Bd")
_KNOWN_RATES: Final = (
    1.0, 10.0, 100.0, 1000.0, 1250.0, 2000.0, 5000.0, 10_000.0, 12_500.0, 20_000.0, 24_414.0625, 25_000.0, 30_000.0,
    32_000.0, 32_552.0, 40_000.0, 48_000.0, 50_000.0, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10,
)  # fmt: skip
_SAMPLE: Final = 2048
_LARGEST: Final = 2.0**53

Floats = NDArray[np.float64]


class FixedPoint:
    """int64 numbers *k* with element = k / rate, or k * (1 / rate), computed in float64 and compared bit by bit."""

    NUMBER: ClassVar[int] = 8

    def __init__(self, *, rate: float, multiplied: bool) -> None:
        self._rate = rate
        self._multiplied = multiplied

    @property
    def parameters(self) -> bytes:
        """Whether it was divided (0) or multiplied (1), u8; the rate, float64."""
        return _PARAMETERS.pack(_MULTIPLIED if self._multiplied else _DIVIDED, self._rate)

    def encode(self, data: bytes | memoryview) -> bytes:
        """Find the multiples; not applicable where one element is none."""
        _, rest = elements(data, 8)
        if len(rest):
            raise NotApplicable
        values = np.frombuffer(data, "<f8")
        with np.errstate(all="ignore"):
            steps = np.rint(values * self._rate) + 0.0  # which makes -0.0 the 0 that an integer holds
            if not (np.abs(steps) < _LARGEST).all() or not _equal(_times(steps, self._rate, self._multiplied), values):
                raise NotApplicable
        return steps.astype("<i8").tobytes()

    @classmethod
    def decode(cls, data: bytes | memoryview, *, parameters: bytes, limit: int) -> bytes:
        """Compute the elements."""
        if len(parameters) != _PARAMETERS.size or len(data) % 8:
            raise FormatError("a fixed point step has parameters or bytes that cannot be")
        mode, rate = _PARAMETERS.unpack(parameters)
        if mode not in (_DIVIDED, _MULTIPLIED) or not math.isfinite(rate) or rate <= 0:
            raise FormatError("a fixed point step has a rate that cannot be")
        steps = np.frombuffer(data, "<i8").astype("<f8")
        with np.errstate(all="ignore"):
            return _times(steps, rate, mode == _MULTIPLIED).tobytes()


def fixed_point_of(data: bytes | memoryview) -> FixedPoint:
    """Return the codec whose rate fits the first elements; raises `NotApplicable` where none does."""
    whole = np.frombuffer(memoryview(data)[: len(data) // 8 * 8], "<f8")
    sample = whole[:_SAMPLE]
    if len(sample) < 16 or not np.isfinite(sample).all():
        raise NotApplicable
    with np.errstate(all="ignore"):
        for rate in _rates(sample):
            if not math.isfinite(rate) or rate <= 0:
                continue
            steps = np.rint(sample * rate) + 0.0
            if not (np.abs(steps) < _LARGEST).all():
                continue
            for multiplied in (False, True):
                if _equal(_times(steps, rate, multiplied), sample):
                    return FixedPoint(rate=rate, multiplied=multiplied)
    raise NotApplicable


def _times(steps: Floats, rate: float, multiplied: bool) -> Floats:  # noqa: FBT001 - a mode of the format
    return steps * (1.0 / rate) if multiplied else steps / rate


def _equal(first: Floats, second: Floats) -> bool:
    return bool((first.view(np.uint64) == second.view(np.uint64)).all())


def _rates(sample: Floats) -> Iterator[float]:
    """Yield rates whose inverse the elements may be multiples of: usual ones, powers of ten, then what their differences say."""
    yield from _KNOWN_RATES
    steps = np.diff(np.sort(sample))
    steps = steps[steps > 1e-9]
    if not len(steps):
        return
    rate = 1.0 / float(steps.min())
    yield from (rate, float(np.rint(rate)), float(np.rint(rate * 10) / 10))
    # The longest distance tells the rate most exactly.
    distances = sample - sample[0]
    counts = np.rint(distances * rate)
    longest = int(np.argmax(np.abs(counts)))
    if counts[longest]:
        refined = float(counts[longest] / distances[longest])
        yield from (refined, float(np.rint(refined)), float(np.rint(refined * 1000) / 1000))
