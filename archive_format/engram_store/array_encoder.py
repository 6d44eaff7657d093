"""Which codecs the frames of an array go through: tried on its first frames, then reused."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from engram_format.array_type import ArrayType
from engram_format.codecs.interface import Codec, NotApplicable
from engram_format.codecs.redeflate import Redeflate, redeflate_settings
from engram_format.codecs.unshuffle import Unshuffle
from engram_format.codecs.zstd import Zstd
from engram_format.frame import join_frame, shorter_frame
from engram_store.array_chains import LONGEST_ROW_BYTES, Candidate, Chain, Trial, Tried, candidates_for, tried

_SAMPLED: Final = frozenset({0, 8, 64, 512, 4096})
"""Numbers of the frames on which all chains are tried: recordings often begin with something else than they go on with."""
_WORTH: Final = 0.99
"""A slower chain is taken where it leaves less than this of what a faster one does."""
_EXCERPT_BYTES: Final = 32 * 1024
_EXCERPT_ROWS: Final = 8
"""Integers are compared on so many bytes of a sampled frame, and on so many rows, ..."""
_SHORT_FRAME_BYTES: Final = 512 * 1024
_SHORT_EXCERPT_ELEMENTS: Final = 6 * 1024
"""... in a short frame on so many elements: it may be all of its recording, and trying must not take longer than coding."""
_FLOAT_EXCERPT_BYTES: Final = 256 * 1024
_FLOAT_FINALISTS: Final = 2
"""Floats are compared on that much, which a palette needs, and the best chains on the whole frame."""
_GIVE_UP: Final = 3
"""After so many frames whose streams did not come back, if they are ..."""
_GIVE_UP_SHARE: Final = 8
"""... one in so many or more, streams are kept as they are: a few odd ones in a long array are no reason."""
_STREAMS_COMPARED: Final = 4
_MOST_INFLATED: Final = 64
"""Chunks that inflate to more than so many times their length are kept as they are stored."""
_THOROUGH: Final = 3


class ArrayEncoder:
    """Encodes the frames of one array. Thread-safe; every frame can be decoded by itself."""

    def __init__(self, array: ArrayType) -> None:
        self._array = array
        self._lock = threading.Lock()
        self._chosen = threading.Event()
        self._frames = 0
        self._known: Sequence[Candidate] = candidates_for(array.dtype, lag=array.lag, row=array.row // array.item_bytes)
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

    def _try_all(self, plain: bytes | memoryview) -> Tried:
        """Encode by the best of the chains that leave least of an excerpt, and put all in the order of what they leave."""
        try:
            excerpt = self._excerpt(plain)
            found = _ranked(Trial(excerpt), self._known)
            if len(excerpt) < len(plain):
                finalists = [one.candidate for one in found[: _FLOAT_FINALISTS if self._is_float else 1]]
                whole = [one for candidate in finalists if (one := tried(candidate, plain)) is not None]
                whole = sorted(whole, key=_cost) or [self._first_that_applies(plain)]
            else:
                whole = found
            # What did not apply here may apply later, and is tried behind what did.
            ordered = [one.candidate for one in (*whole, *found)]
            self._known = list(dict.fromkeys([*ordered, *self._known]))
        finally:
            self._chosen.set()
        return whole[0]

    def _excerpt(self, plain: bytes | memoryview) -> memoryview:
        """Return whole rows, or elements where those are long, from the middle of a frame."""
        row = self._array.row if self._array.row <= LONGEST_ROW_BYTES else self._array.item_bytes
        short = _SHORT_EXCERPT_ELEMENTS * self._array.item_bytes
        whole = max(short if len(plain) < _SHORT_FRAME_BYTES else _EXCERPT_BYTES, _EXCERPT_ROWS * row)
        size = _FLOAT_EXCERPT_BYTES if self._is_float else whole
        start = max(0, len(plain) - size) // 2 // row * row
        return memoryview(plain)[start : start + size // row * row] if size < len(plain) else memoryview(plain)

    def _take_chosen(self, plain: bytes | memoryview) -> Tried:
        self._chosen.wait()  # a frame that comes while the first is being tried would go through any chain
        return self._first_that_applies(plain)

    def _first_that_applies(self, plain: bytes | memoryview) -> Tried:
        return next(one for candidate in self._known if (one := tried(candidate, plain)) is not None)


def _ranked(trial: Trial, candidates: Sequence[Candidate]) -> list[Tried]:
    """Return what became of those that apply, the best first: chains with a base only where that is good enough."""
    found = trial.of(candidate for candidate in candidates if candidate.base is None)
    sizes = {one.candidate: len(one.coded) for one in found}
    least = min(sizes.values())
    follow = [one for one in candidates if one.base in sizes and sizes[one.base] <= one.within * least]
    return sorted((*found, *trial.of(follow)), key=_cost)


def _cost(one: Tried) -> float:
    """Return what a chain leaves, more for a slow one: of two that are nearly equal the faster is taken."""
    return len(one.coded) / one.candidate.worth


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
