"""The chains of codecs that may suit an array, by the type of its elements, and what they make of a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from engram_format.codecs.delta import Delta
from engram_format.codecs.fixed_point import fixed_point_of
from engram_format.codecs.interface import UNSIGNED, Codec, NotApplicable
from engram_format.codecs.lifting import Lifting
from engram_format.codecs.narrow import Narrow
from engram_format.codecs.palette import Palette
from engram_format.codecs.planes import Planes
from engram_format.codecs.swap import Swap
from engram_format.codecs.widen import Widen
from engram_format.codecs.zigzag import Zigzag
from engram_format.codecs.zstd import Zstd

Chain = tuple[Codec, ...]
Find = Callable[[bytes | memoryview], Codec]
"""Makes a codec whose parameters follow from the bytes that it is to encode; raises `NotApplicable`."""
Steps = tuple[Codec | Find, ...]

LONGEST_ROW_BYTES: Final = 16 * 1024
"""Differences between longer rows would not show in the part of a frame on which chains are compared."""

_NOISE: Final = Zstd(noise=True)
_FAST: Final = Zstd(level=1)
_THOROUGH: Final = Zstd(level=3)
_WORTH: Final = 0.99
"""A slower chain must leave less than this of what a faster one does."""
_WORTH_IN_STREAMS: Final = 0.98
"""For 16-bit samples, which rigs write faster than anything else, two per cent are not worth half as long again."""
_HOPELESS: Final = 1.3
"""For integers, no repetitions are searched, and no channels compared alone, where the elements as they are leave so much more.

Tables of floats may repeat in a way that only a slow search finds, and are worth its time.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A chain, some of whose codecs may follow from the bytes."""

    steps: Steps
    worth: float = 1
    """It is worth its time where it leaves less than this part of what faster ones do."""
    base: Candidate | None = None
    """A chain much like this one that is tried first, ..."""
    within: float = math.inf
    """... and this one only where that leaves at most so many times the least."""


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """What a candidate has made of a frame, or of a part of it."""

    candidate: Candidate
    chain: Chain
    coded: bytes | memoryview


class Trial:
    """Encodes the same bytes by many chains, what several of them begin with only once."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._made: dict[Steps, tuple[Chain, bytes | memoryview] | None] = {(): ((), data)}

    def of(self, candidates: Iterable[Candidate]) -> list[Tried]:
        """Encode by those that apply."""
        return [one for candidate in candidates if (one := self._tried(candidate)) is not None]

    def _tried(self, candidate: Candidate) -> Tried | None:
        try:
            return Tried(candidate, *self._through(candidate.steps))
        except NotApplicable:
            return None

    def _through(self, steps: Steps) -> tuple[Chain, bytes | memoryview]:
        if steps not in self._made:
            chain, before = self._through(steps[:-1])
            self._made[steps] = None
            self._made[steps] = _after(chain, steps[-1], before)
        made = self._made[steps]
        if made is None:
            raise NotApplicable
        return made


def tried(candidate: Candidate, data: bytes | memoryview) -> Tried | None:
    """Encode by one candidate and keep nothing of the way; `None` where it does not apply."""
    chain: Chain = ()
    try:
        for step in candidate.steps:
            chain, data = _after(chain, step, data)
    except NotApplicable:
        return None
    return Tried(candidate, chain, data)


def _after(chain: Chain, step: Codec | Find, data: bytes | memoryview) -> tuple[Chain, bytes | memoryview]:
    codec = step(data) if callable(step) else step
    return (*chain, codec), codec.encode(data)


@lru_cache(maxsize=256)
def candidates_for(dtype: str, *, lag: int, row: int) -> tuple[Candidate, ...]:
    """Return all chains that may suit an element type, the likeliest first; the last ones always apply.

    `lag` is in elements, as is `row`, how far one row of the array is from the next.
    """
    byte_order, kind, item = dtype[0], dtype[1], int(dtype[2:])
    if kind == "c":
        kind, item, lag, row = "f", item // 2, 2 * lag, 2 * row
    before: Chain = ()
    if item == 3:
        before, item = (Widen(),), 4
    elif kind in "SV" or item not in UNSIGNED:
        chains: list[Steps] = [(Planes(item=item),), (_FAST,)] if 2 <= item <= 255 else [()]
        return tuple(_repeating(*chains, within=math.inf))
    elif byte_order == ">" and item > 1:
        before = (Swap(item=item),)
    row = row if row * item <= LONGEST_ROW_BYTES else lag
    if kind == "f" and item >= 4:
        return tuple(_floats(before, item=item, lag=lag, row=row))
    return tuple(_integers(before, item=item, lag=lag, row=row))


def _integers(before: Chain, *, item: int, lag: int, row: int) -> Iterator[Candidate]:
    tail = _tail(item)
    along, lifted, beside = Delta(item=item, lag=lag), Lifting(item=item, lag=lag), Delta(item=item)
    worth = _WORTH_IN_STREAMS if item <= 2 else _WORTH
    smooth = (*before, along, along, *tail)
    yield from _predicted((*before, along, *tail), (*before, lifted, *tail), smooth, worth=worth)
    repeating: list[Steps] = [(*before, along, *tail, _FAST)]
    if lag > 1:
        yield from _predicted((*before, along, beside, *tail), (*before, lifted, beside, *tail), worth=worth)
        repeating += [(*before, along, beside, *tail, _FAST)]
        repeating += [(*before, beside, *tail, last) for last in (_NOISE, _FAST)]
    if row > lag:
        across = Delta(item=item, lag=row)
        yield from _predicted((*before, across, *tail))
        yield from _predicted((*before, across, along, *tail))
        repeating += [(*before, across, *tail, _FAST)]
    if item > 1:
        yield from _repeating((*before, Planes(item=item)), (_FAST,), *repeating)
    else:
        yield from _repeating((), *repeating)


def _floats(before: Chain, *, item: int, lag: int, row: int) -> Iterator[Candidate]:
    tail = _tail(item)
    along, beside = Delta(item=item, lag=lag), Delta(item=item)
    yield from _any(*before, along, *tail)
    if lag > 1:
        yield from _predicted((*before, along, beside, *tail))
        yield from _any(*before, beside, *tail)
    if row > lag:
        across = Delta(item=item, lag=row)
        yield from _predicted((*before, across, *tail))
        yield from _predicted((*before, across, along, *tail))
    yield from _predicted((*before, along, along, *tail))
    yield from _any(*before, Planes(item=item))
    palette = (*before, Palette(item=item))
    yield from _any(*palette, Delta(item=2, lag=lag), *_tail(2))
    yield from _any(*palette, Planes(item=2))
    if item == 8:
        times: Steps = (*before, fixed_point_of)
        yield from _any(*times, along, *tail)
        yield from _any(*times, along, along, *tail)
        yield from _any(*times, Lifting(item=item, lag=lag), *tail)
        yield from _any(*before, Narrow(), Planes(item=4))
    yield from _repeating((), within=math.inf)


def _tail(item: int) -> Chain:
    return (Zigzag(item=item),) if item == 1 else (Zigzag(item=item), Planes(item=item))


def _predicted(steps: Steps, *slower: Steps, worth: float = _WORTH) -> Iterator[Candidate]:
    """Yield a chain that leaves noise, and slower ones that are tried only where it is the best so far."""
    noise = Candidate((*steps, _NOISE))
    yield noise
    for other in slower:
        yield Candidate((*other, _NOISE), worth=worth, base=noise, within=1)


def _repeating(steps: Steps, *others: Steps, within: float = _HOPELESS) -> Iterator[Candidate]:
    """Yield a chain that predicts nothing, and others that are tried only where that is not hopeless, slow ones last."""
    fast = Candidate((*steps, _FAST))
    yield fast
    for other in others:
        yield Candidate(other, base=fast, within=within)
    for one in (steps, ()) if steps else (steps,):
        yield Candidate((*one, _THOROUGH), worth=_WORTH, base=fast, within=within)


def _any(*steps: Codec | Find) -> Iterator[Candidate]:
    """Yield a chain with all compressions."""
    noise = Candidate((*steps, _NOISE))
    yield noise
    yield Candidate((*steps, _FAST), base=noise)
    yield Candidate((*steps, _THOROUGH), worth=_WORTH, base=noise)
