"""Which codecs the frames of an array go through: tried on its first frames, then reused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from engram_format.array_type import ArrayType
from engram_format.codecs.delta import Delta
from engram_format.codecs.fixed_point import fixed_point_of
from engram_format.codecs.interface import UNSIGNED, Codec, NotApplicable
from engram_format.codecs.narrow import Narrow
from engram_format.codecs.palette import Palette
from engram_format.codecs.planes import Planes
from engram_format.codecs.redeflate import Redeflate, redeflate_settings
from engram_format.codecs.swap import Swap
from engram_format.codecs.unshuffle import Unshuffle
from engram_format.codecs.widen import Widen
from engram_format.codecs.zigzag import Zigzag
from engram_format.codecs.zstd import Zstd
from engram_format.frame import join_frame, shorter_frame

Chain = tuple[Codec, ...]
Build = Callable[[bytes | memoryview], Chain]
"""Makes a chain for the bytes of one frame, whose parameters may follow from them."""

_SAMPLED: Final = frozenset({0, 8, 64, 512, 4096})
"""Numbers of the frames on which all chains are tried: recordings often begin with something else than they go on with."""
_WORTH: Final = 0.99
"""A slower compression is taken where it leaves less than this of what the faster one does."""
_EXCERPT_BYTES: Final = 96 * 1024
_FLOAT_EXCERPT_BYTES: Final = 256 * 1024
"""All chains are tried on this much of a sampled frame (a palette needs more) ..."""
_FINALISTS: Final = 2
"""... and the best of them on all of it: trying costs more than coding where a recording has few frames."""
_HOPELESS: Final = 1.3
"""For integers, a slow compression is not tried where the fast one leaves so many times the least.

Tables of floats may repeat in a way that only the slow one finds, and are worth its time.
"""
_GIVE_UP: Final = 3
"""After so many frames whose streams did not come back, if they are ..."""
_GIVE_UP_SHARE: Final = 8
"""... one in so many or more, streams are kept as they are: a few odd ones in a long array are no reason."""
_STREAMS_COMPARED: Final = 4
_MOST_INFLATED: Final = 64
"""Chunks that inflate to more than so many times their length are kept as they are stored."""
_FAST: Final = 1
_THOROUGH: Final = 3


class ArrayEncoder:
    """Encodes the frames of one array. Thread-safe; every frame can be decoded by itself."""

    def __init__(self, array: ArrayType) -> None:
        self._array = array
        self._lock = threading.Lock()
        self._chosen = threading.Event()
        self._frames = 0
        self._known = _candidates(array.dtype, lag=array.lag, row=array.row // array.item_bytes)
        self._is_float = array.dtype[1] in "fc"
        self._settings: tuple[int, int, int] | None = None
        self._opens = _opens(array)
        self._failed = 0
        self._closed = 0
        self._pays = True

    def candidates(self, original: bytes | memoryview, *, pieces: Sequence[int] = ()) -> Iterator[bytes]:
        """Yield plaintexts of a frame, the best first; take the next one where decoding does not give the original.

        `pieces` are the stored lengths of the chunks that the original consists of, if the array has filters. The last one
        is the original as it is.
        """
        if not self._array.filters:
            yield self._encode(original)
        elif len(pieces) * self._array.chunk > _MOST_INFLATED * len(original):
            # Little is left to save, and to deflate so much again would take longer than fetching it ever does.
            yield self._leave_filtered(original)
        else:
            opened = self._unfilter(original, pieces) if self._opens and pieces else None
            if opened is not None:
                yield opened
                self._note_failure()
            yield self._leave_filtered(original)
        yield join_frame((), original)

    def _leave_filtered(self, original: bytes | memoryview) -> bytes:
        """Encode chunks as the file holds them: compressed where the last try showed that it pays, which is seldom."""
        with self._lock:
            tries = self._pays or self._closed in _SAMPLED
            self._closed += 1
        if not tries:
            return join_frame((), original)
        chain = (Zstd(level=_THOROUGH),)
        coded = chain[0].encode(original)
        pays = len(coded) < _WORTH * len(original)
        with self._lock:
            self._pays = pays
        return shorter_frame(chain, coded, original) if pays else join_frame((), original)

    def _unfilter(self, original: bytes | memoryview, pieces: Sequence[int]) -> bytes | None:
        """Return the plaintext with the file's own filters undone; `None` where they cannot be made again."""
        try:
            return self._encode(original, self._filters(original, pieces))
        except NotApplicable:
            self._note_failure()
            return None

    def _note_failure(self) -> None:
        with self._lock:
            self._settings = None  # the next frame may tell better with which level the streams were made
            self._failed += 1
            self._opens = self._failed < _GIVE_UP or self._failed * _GIVE_UP_SHARE < self._frames

    def _settings_for(self, original: bytes | memoryview, pieces: Sequence[int]) -> tuple[int, int, int]:
        """Return level, window bits and memory level of the streams: those of an earlier frame, or found out from this one."""
        with self._lock:
            settings = self._settings
        if settings is None:
            settings = redeflate_settings(_first_streams(original, pieces), chunk=self._array.chunk)
            with self._lock:
                self._settings = settings
        return settings

    def _filters(self, original: bytes | memoryview, pieces: Sequence[int]) -> Chain:
        array = self._array
        steps: list[Codec] = []
        for step in reversed(array.filters):
            if step.name == "deflate":
                level, window_bits, memory = self._settings_for(original, pieces)
                steps.append(
                    Redeflate(level=level, window_bits=window_bits, memory=memory, chunk=array.chunk, pieces=pieces)
                )
            else:
                steps.append(Unshuffle(item=step.parameters[0], chunk=array.chunk))
        return tuple(steps)

    def _encode(self, original: bytes | memoryview, filters: Chain = ()) -> bytes:
        """Encode by the first chain that applies; on sampled frames by all, which are then ordered by what they leave."""
        plain: bytes | memoryview = original
        for step in filters:
            plain = step.encode(plain)
        with self._lock:
            number = self._frames
            self._frames += 1
        best = self._try_all(plain) if number in _SAMPLED else self._take_chosen(plain)
        return shorter_frame((*filters, *best.chain), best.coded, original)

    def _try_all(self, plain: bytes | memoryview) -> _Tried:
        """Encode by the best of the chains that leave least of an excerpt, and put all in the order of what they leave."""
        try:
            ranked = self._ranked(plain)
            tried = _all_tried(ranked[:_FINALISTS], plain) or _all_tried(self._known, plain)
            best = _best(tried)
            whole = [one.candidate for one in sorted(tried, key=lambda one: len(one.coded))]
            # What did not apply here may apply later, and is tried behind what did.
            self._known = list(dict.fromkeys([best.candidate, *whole, *ranked, *self._known]))
        finally:
            self._chosen.set()
        return best

    def _ranked(self, plain: bytes | memoryview) -> list[_Candidate]:
        """Return the chains that apply to an excerpt from the middle of a frame, by what they leave of it."""
        size = _FLOAT_EXCERPT_BYTES if self._is_float else _EXCERPT_BYTES
        step = self._array.row if self._array.row <= size else self._array.item_bytes
        start = max(0, len(plain) - size) // 2 // step * step
        excerpt = memoryview(plain)[start : start + max(1, size // step) * step]
        tried = _all_tried([candidate for candidate in self._known if candidate.fast], excerpt)
        sizes = {one.candidate: len(one.coded) for one in tried}
        bound = math.inf if self._is_float else _HOPELESS * min(sizes.values())
        slow = [one for one in self._known if one.fast_form in sizes and sizes[one.fast_form] < bound]
        ordered = sorted((*tried, *_all_tried(slow, excerpt)), key=lambda one: len(one.coded))
        return [one.candidate for one in ordered]

    def _take_chosen(self, plain: bytes | memoryview) -> _Tried:
        """Encode by the first chain that applies."""
        self._chosen.wait()  # a frame that comes while the first is being tried would go through any chain
        return next(one for candidate in self._known if (one := _tried(candidate, plain)) is not None)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    build: Build
    fast_form: _Candidate | None = None
    """The same chain with a fast compression; `None` where this is it."""

    @property
    def fast(self) -> bool:
        return self.fast_form is None


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    candidate: _Candidate
    chain: Chain
    coded: bytes | memoryview


def _tried(candidate: _Candidate, data: bytes | memoryview) -> _Tried | None:
    try:
        chain = candidate.build(data)
        return _Tried(candidate, chain, _through(chain, data))
    except NotApplicable:
        return None


def _all_tried(candidates: Sequence[_Candidate], data: bytes | memoryview) -> list[_Tried]:
    return [one for candidate in candidates if (one := _tried(candidate, data)) is not None]


def _best(tried: Sequence[_Tried]) -> _Tried:
    """Return what left least; of two that are nearly equal the one that is faster."""
    least = min(tried, key=lambda one: len(one.coded))
    fast = min((one for one in tried if one.candidate.fast), key=lambda one: len(one.coded), default=least)
    return fast if len(least.coded) > _WORTH * len(fast.coded) else least


def _through(chain: Chain, data: bytes | memoryview) -> bytes | memoryview:
    for step in chain:
        data = step.encode(data)
    return data


def _first_streams(original: bytes | memoryview, pieces: Sequence[int]) -> list[memoryview]:
    """Return the first few chunks of a frame, as they are stored."""
    ends = list(accumulate(pieces[:_STREAMS_COMPARED]))
    return [memoryview(original)[end - size : end] for end, size in zip(ends, pieces, strict=False)]


def _opens(array: ArrayType) -> bool:
    """Tell whether the filters of an array are those that can be undone and made again: shuffle, then deflate, or one of them."""
    names = [step.name for step in array.filters]
    shuffles = [step for step in array.filters if step.name == "shuffle"]
    return names in (["shuffle"], ["deflate"], ["shuffle", "deflate"]) and all(
        len(step.parameters) == 1 and 2 <= step.parameters[0] <= 255 for step in shuffles
    )


def _candidates(dtype: str, *, lag: int, row: int) -> list[_Candidate]:
    """Return all chains that may suit an element type, the likeliest first; the last one always applies.

    `lag` is in elements, as is `row`, how far one row of the array is from the next.
    """
    byte_order, kind, item = dtype[0], dtype[1], int(dtype[2:])
    if kind == "c":
        kind, item, lag, row = "f", item // 2, 2 * lag, 2 * row
    before: Chain = ()
    if item == 3:
        before, item = (Widen(),), 4
    elif kind in "SV" or item not in UNSIGNED:
        return [*([_fixed(Planes(item=item))] if 2 <= item <= 255 else []), *_both()]
    elif byte_order == ">" and item > 1:
        before = (Swap(item=item),)
    tail: Chain = (Zigzag(item=item),) if item == 1 else (Zigzag(item=item), Planes(item=item))
    along, beside = Delta(item=item, lag=lag), Delta(item=item)
    is_float = kind == "f" and item >= 4
    found = _both(*before, along, *tail) if is_float else [_fixed(*before, along, *tail)]
    if lag > 1:
        found += [_fixed(*before, along, beside, *tail)]
        found += _both(*before, beside, *tail) if is_float else [_fixed(*before, beside, *tail)]
    if row > lag:
        across = Delta(item=item, lag=row)
        found += [_fixed(*before, across, *tail), _fixed(*before, across, along, *tail)]
    found += [_fixed(*before, along, along, *tail)]
    if item > 1:
        found += _both(*before, Planes(item=item))
    if is_float:
        palette = (*before, Palette(item=item))
        found += _both(*palette, Delta(item=2, lag=lag), Zigzag(item=2), Planes(item=2))
        found += _both(*palette, Planes(item=2))
        if item == 8:
            found += [*_times(before, lag=lag, order=1), *_times(before, lag=lag, order=2)]
            found += _both(*before, Narrow(), Planes(item=4))
    return [*found, *_both()]


def _fixed(*steps: Codec) -> _Candidate:
    chain = (*steps, Zstd(level=_FAST))
    return _Candidate(lambda _: chain)


def _both(*steps: Codec) -> list[_Candidate]:
    """Return a chain with a fast compression, and with a slow one."""
    fast, chain = _fixed(*steps), (*steps, Zstd(level=_THOROUGH))
    return [fast, _Candidate(lambda _: chain, fast_form=fast)]


def _times(before: Chain, *, lag: int, order: int) -> list[_Candidate]:
    def builder(level: int) -> Build:
        def build(data: bytes | memoryview) -> Chain:
            codec = fixed_point_of(_through(before, data))
            differences = order * (Delta(item=8, lag=lag),)
            return (*before, codec, *differences, Zigzag(item=8), Planes(item=8), Zstd(level=level))

        return build

    fast = _Candidate(builder(_FAST))
    return [fast, _Candidate(builder(_THOROUGH), fast_form=fast)]
