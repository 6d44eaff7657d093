"""Cutting an artifact's bytes into frames along its plan (SPEC.md section 7).

Opaque bytes are cut by content, arrays at rows and chunks counted from where the array begins in the file: an array that is
saved again, moved by a longer header, or appended to, gives the same frames again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engram_format.chunking import Chunker
from engram_format.frame import MAX_FRAME_BYTES
from engram_layout import ArraySegment, Plan, Segment

ARRAY_FRAME_BYTES: Final = 2**20
"""Frames of arrays have about this many bytes before the file's own filters: what a slice must decode at least."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The original of one frame."""

    data: bytes
    array: int | None = None
    """Index in the plan's arrays, or `None` for bytes of which nothing is assumed."""
    chunks: tuple[int, ...] = ()
    """Stored lengths of the chunks that the piece consists of, if the array has filters."""


@dataclass(frozen=True, slots=True)
class _Cut:
    stop: int
    array: int | None
    chunks: tuple[int, ...] = ()


class Cutter:
    """Cuts one artifact from byte `start` on: feed it all bytes in order, take pieces that each become a frame."""

    def __init__(self, plan: Plan, chunker: Chunker, *, start: int = 0) -> None:
        self._plan = plan
        self._chunker = chunker
        self._position = start
        self._held = bytearray()
        self._segments = iter(plan.segments)
        self._segment: Segment | None = None
        self._cuts: Iterator[_Cut] = iter(())
        self._cut: _Cut | None = None
        self._advance()

    def feed(self, data: bytes | memoryview) -> Iterator[Piece]:
        """Take the next bytes; yield the pieces that are complete. Raises `ValueError` beyond the plan's end."""
        rest = memoryview(data)
        while rest:
            segment = self._segment
            if segment is None:
                raise ValueError(f"more bytes came than the {self._plan.size} of the plan")
            stop = segment.stop if self._cut is None else self._cut.stop
            taken = min(len(rest), stop - self._position)
            piece, rest = rest[:taken], rest[taken:]
            self._position += taken
            yield from self._take(piece, ends=self._position == stop)
            self._advance()

    def _take(self, piece: memoryview, *, ends: bool) -> Iterator[Piece]:
        if self._cut is None:
            yield from map(Piece, self._chunker.feed(piece))
            if ends:
                yield from map(Piece, self._chunker.finish())
            return
        if not ends:
            self._held += piece
            return
        whole = b"".join((self._held, piece))
        self._held.clear()
        yield Piece(whole, self._cut.array, self._cut.chunks)

    def _advance(self) -> None:
        """Go to the cut, and the segment, in which the next byte lies."""
        while self._cut is not None and self._cut.stop <= self._position:
            self._cut = next(self._cuts, None)
        if self._segment is not None and self._segment.stop > self._position:
            return
        self._segment = next((segment for segment in self._segments if segment.stop > self._position), None)
        if self._segment is not None:
            self._begin(self._segment)

    def _begin(self, segment: Segment) -> None:
        if not isinstance(segment, ArraySegment):
            self._cut = None
            return
        self._cuts = _cuts(self._plan, segment)
        begins = segment.offset
        while True:
            self._cut = next(self._cuts)
            if self._cut.stop > self._position:
                break
            begins = self._cut.stop
        if self._position > begins:
            # Resumed inside a frame, under another plan than before: the rest of it is no longer whole rows or chunks.
            self._cut = _Cut(self._cut.stop, None)


def _cuts(plan: Plan, segment: ArraySegment) -> Iterator[_Cut]:
    array = plan.arrays[segment.array]
    if not array.filters:
        step = _rows(array.row, array.item_bytes)
        for start in range(segment.offset, segment.stop, step):
            yield _Cut(min(start + step, segment.stop), segment.array)
        return
    group: list[int] = []
    stored, at = 0, segment.offset
    together = max(1, ARRAY_FRAME_BYTES // array.chunk)
    for size in segment.pieces.tolist():
        if group and (len(group) == together or stored + size > MAX_FRAME_BYTES):
            at += stored
            yield _Cut(at, segment.array, tuple(group))
            group, stored = [], 0
        if size > MAX_FRAME_BYTES:
            for start in range(at, at + size, MAX_FRAME_BYTES):
                yield _Cut(min(start + MAX_FRAME_BYTES, at + size), None)
            at += size
            continue
        group.append(size)
        stored += size
    if group:
        yield _Cut(at + stored, segment.array, tuple(group))


def _rows(row: int, item: int) -> int:
    """Return the bytes of one frame of an unfiltered array: whole rows, or whole elements where a row is too long, or neither."""
    for whole in (row, item):
        if whole <= 2 * ARRAY_FRAME_BYTES:
            return max(whole, ARRAY_FRAME_BYTES // whole * whole)
    return ARRAY_FRAME_BYTES
