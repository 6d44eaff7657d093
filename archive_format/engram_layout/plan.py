"""A plan: the segments into which a deposit cuts one file, in order and without gaps.

This is the seam between knowing file formats and storing bytes. A planner looks at a file and returns a `Plan`; the deposit
encodes one segment after the other and knows nothing of the format. Today every planner yields `OpaqueSegment`s, bytes of
which nothing is assumed. A planner that knows where the arrays of a recording lie returns a second kind of segment, with
dtype, shape and filters, which joins the union `Segment`; opaque segments then fill what lies between the arrays, so that
every byte of the file stays covered exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpaqueSegment:
    """Bytes `offset` up to `offset + length` of the file, about which nothing is assumed; `length` is at least 1."""

    offset: int
    length: int

    def __post_init__(self) -> None:
        if self.offset < 0 or self.length < 1:
            raise ValueError(f"a segment begins at 0 or later and has at least one byte, not {self}")

    @property
    def stop(self) -> int:
        """The offset after the segment's last byte."""
        return self.offset + self.length


Segment = OpaqueSegment
"""What a plan is made of: the union of all kinds of segments, of which there is one so far."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Segments that cover a file of `size` bytes: each begins where the one before ends, the last ends at `size`.

    Raises `ValueError` if they do not, so that whoever holds a plan may trust it. An empty file has no segments.
    """

    size: int
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        covered = 0
        for segment in self.segments:
            if segment.offset != covered:
                raise ValueError(f"the plan covers {covered} bytes without a gap, and then comes {segment}")
            covered = segment.stop
        if covered != self.size:
            raise ValueError(f"the plan covers {covered} bytes of a file that has {self.size}")
