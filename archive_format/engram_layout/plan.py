"""A plan: the segments into which a deposit cuts one file, in order and without gaps.

This is the seam between knowing file formats and storing bytes. A planner looks at a file and returns a `Planned`; the
deposit encodes one segment after the other and knows nothing of the format. An `OpaqueSegment` is bytes of which nothing is
assumed, an `ArraySegment` bytes of one array. Opaque segments fill what lies between the arrays, so that every byte of the
file is covered exactly once. A plan that is wrong costs room and never exactness: what is encoded is decoded and compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.array_type import ArrayType
from engram_format.catalog import Metadata, Scalar
from engram_format.encoding import Encodable, Fields, Value, encode
from engram_format.errors import FormatError
from engram_format.series import Description

MAX_SEGMENTS: Final = 65_536
MAX_PLAN_BYTES: Final = 64 * 2**20
_WHAT: Final = "a plan"
_NO_PIECES: Final = np.empty(0, np.uint32)


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


@dataclass(frozen=True, slots=True, eq=False)
class ArraySegment:
    """Bytes of one array, which the plan's table of arrays describes.

    Unfiltered (`pieces` empty): elements, side by side, beginning with a row. Filtered: whole chunks, side by side, whose
    stored lengths in bytes are `pieces`.
    """

    offset: int
    length: int
    array: int
    """Index in `Plan.arrays`."""
    pieces: NDArray[np.uint32] = field(default_factory=lambda: _NO_PIECES)

    def __post_init__(self) -> None:
        if self.offset < 0 or self.length < 1 or self.array < 0:
            raise ValueError(f"a segment begins at 0 or later and has at least one byte, not {self}")
        if len(self.pieces) and (int(self.pieces.sum(dtype=np.uint64)) != self.length or not self.pieces.all()):
            raise ValueError(f"the chunks of a segment do not add up to its {self.length} bytes")

    @property
    def stop(self) -> int:
        """The offset after the segment's last byte."""
        return self.offset + self.length


Segment = OpaqueSegment | ArraySegment
"""What a plan is made of."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Segments that cover a file of `size` bytes: each begins where the one before ends, the last ends at `size`.

    Raises `ValueError` if they do not, so that whoever holds a plan may trust it. An empty file has no segments.
    """

    size: int
    segments: tuple[Segment, ...]
    arrays: tuple[ArrayType, ...] = ()
    description: Description | None = None
    """What is in the file, if a planner could tell; stored with the artifact."""

    def __post_init__(self) -> None:
        covered = 0
        for segment in self.segments:
            if segment.offset != covered:
                raise ValueError(f"the plan covers {covered} bytes without a gap, and then comes {segment}")
            covered = segment.stop
            if isinstance(segment, ArraySegment):
                self._check_array(segment)
        if covered != self.size:
            raise ValueError(f"the plan covers {covered} bytes of a file that has {self.size}")
        if len(self.segments) > MAX_SEGMENTS:
            raise ValueError(f"a plan has at most {MAX_SEGMENTS} segments, not {len(self.segments)}")

    def _check_array(self, segment: ArraySegment) -> None:
        if segment.array >= len(self.arrays):
            raise ValueError(f"a segment names array {segment.array} of {len(self.arrays)}")
        if bool(self.arrays[segment.array].filters) != bool(len(segment.pieces)):
            raise ValueError("a segment of chunks is one of an array with filters, and the other way round")

    def to_bytes(self) -> bytes:
        """Encode, for the pipe of the planning child and for the wire."""
        rows: list[Encodable] = []
        for segment in self.segments:
            if isinstance(segment, ArraySegment):
                rows.append([segment.length, segment.array, segment.pieces.astype("<u4").tobytes()])
            else:
                rows.append([segment.length])
        value: dict[int, Encodable] = {1: self.size, 2: rows, 3: [array.to_value() for array in self.arrays]}
        if self.description is not None:
            value[4] = self.description.to_bytes()
        return encode(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check; raises `FormatError`."""
        fields = Fields.of(data, what=_WHAT, known=range(1, 5))
        arrays = tuple(ArrayType.from_value(item, what=_WHAT) for item in fields.array(3))
        description = Description.from_bytes(fields.raw(4)) if fields.has(4) else None
        try:
            return cls(fields.integer(1), tuple(_segments(fields.array(2))), arrays, description)
        except ValueError as error:
            raise FormatError(f"{_WHAT} is damaged: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """What a planner returns: the plan, what the file says of itself, and sentences for the depositor."""

    plan: Plan
    metadata: Metadata = field(default_factory=dict)
    """Flat, in the words of SPEC.md section 9.2, such as `subject.species`."""
    warnings: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Encode, for the pipe of the planning child."""
        return encode({1: self.plan.to_bytes(), 2: dict(self.metadata), 3: list(self.warnings)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check; raises `FormatError`."""
        fields = Fields.of(data, what="a planner's answer", known=range(1, 4))
        metadata: dict[str, Scalar] = {
            name: value for name, value in fields.mapping(2).items() if isinstance(value, str | int | float | bool)
        }
        warnings = tuple(item for item in fields.array(3) if isinstance(item, str))
        return cls(Plan.from_bytes(fields.raw(1)), metadata, warnings)


def covering(
    size: int, found: Iterable[ArraySegment], arrays: tuple[ArrayType, ...], *, description: Description | None = None
) -> Plan:
    """Return the plan of a file of `size` bytes in which arrays were found, with opaque segments between them.

    Segments that overlap one found earlier in the file, or lie beyond its end, are dropped: they become opaque.
    """
    segments: list[Segment] = []
    covered = 0
    for segment in sorted(found, key=lambda segment: segment.offset):
        if segment.offset < covered or segment.stop > size or len(segments) + 3 > MAX_SEGMENTS:
            continue
        if segment.offset > covered:
            segments.append(OpaqueSegment(covered, segment.offset - covered))
        segments.append(segment)
        covered = segment.stop
    if covered < size:
        segments.append(OpaqueSegment(covered, size - covered))
    return Plan(size, tuple(segments), arrays, description)


def _segments(items: list[Value]) -> Iterable[Segment]:
    covered = 0
    for item in items:
        segment: Segment
        match item:
            case [int(length)]:
                segment = OpaqueSegment(covered, length)
            case [int(length), int(array), bytes(pieces)] if len(pieces) % 4 == 0:
                segment = ArraySegment(covered, length, array, np.frombuffer(pieces, "<u4").astype(np.uint32))
            case _:
                raise ValueError("a segment is not a length, an array and its chunks")
        yield segment
        covered = segment.stop
