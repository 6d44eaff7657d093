"""Where frames lie: references to packs and columns of places (SPEC.md section 9).

A reader goes from a column's row to the bytes with one ranged read: the row names the pack, and the pack's header is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.encoding import Fields, encode
from engram_format.errors import FormatError
from engram_format.frame import MAX_FRAME_BYTES
from engram_format.ids import ObjectName, PackId, SessionId
from engram_format.pack import FramePlace
from engram_format.suite import TAG_BYTES

Column = NDArray[np.uint32]

MAX_PAGE_FRAMES: Final = 32_768
PACK_REF_BYTES: Final = SessionId.LENGTH + ObjectName.LENGTH + PackId.LENGTH


@dataclass(frozen=True, slots=True)
class PackRef:
    """All that a reader needs to find and decrypt a pack, given the session's key."""

    session: SessionId
    name: ObjectName
    pack: PackId

    @property
    def raw(self) -> bytes:
        """64 bytes."""
        return self.session.raw + self.name.raw + self.pack.raw

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """Read 64 bytes."""
        name_at, pack_at = SessionId.LENGTH, SessionId.LENGTH + ObjectName.LENGTH
        return cls(SessionId(raw[:name_at]), ObjectName(raw[name_at:pack_at]), PackId(raw[pack_at:]))


@dataclass(frozen=True, slots=True)
class Location:
    """One frame: its pack and its place there."""

    pack: PackRef
    place: FramePlace


@dataclass(frozen=True, slots=True, eq=False)
class LocationPage:
    """At most 32,768 frames in columns, one row a frame, in the order in which they are to be read."""

    packs: tuple[PackRef, ...]
    pack: Column
    index: Column
    offset: Column
    length: Column
    raw_size: Column

    @classmethod
    def of(cls, locations: Iterable[Location]) -> Self:
        """Arrange locations in columns."""
        numbers: dict[PackRef, int] = {}
        rows = [
            (
                numbers.setdefault(location.pack, len(numbers)),
                location.place.index,
                location.place.offset,
                location.place.length,
                location.place.raw_size,
            )
            for location in locations
        ]
        columns = np.array(rows, dtype=np.uint32).reshape(-1, 5).T
        return cls(tuple(numbers), *(np.ascontiguousarray(column) for column in columns))

    def __len__(self) -> int:
        return len(self.pack)

    def __getitem__(self, row: int) -> Location:
        place = FramePlace(int(self.index[row]), int(self.offset[row]), int(self.length[row]), int(self.raw_size[row]))
        return Location(self.packs[int(self.pack[row])], place)

    def __iter__(self) -> Iterator[Location]:
        return (self[row] for row in range(len(self)))

    @property
    def stored_size(self) -> int:
        """Bytes of ciphertext in all frames."""
        return int(self.length.sum(dtype=np.uint64))

    def starts(self) -> NDArray[np.uint64]:
        """Return where each frame's original begins and, in the last item, where the last one ends; bytes."""
        return np.concatenate(([0], np.cumsum(self.raw_size, dtype=np.uint64))).astype(np.uint64)

    def to_bytes(self) -> bytes:
        """Encode. Index and offset are stored as what differs from the row before, so that they compress to nothing."""
        index = self.index - _predicted(self.index, np.ones_like(self.index), self.pack)
        offset = self.offset - _predicted(self.offset, self.length, self.pack)
        columns = (self.pack, index, offset, self.length, self.raw_size)
        packs = b"".join(pack.raw for pack in self.packs)
        return encode({1: packs} | {key: column.astype("<u4").tobytes() for key, column in enumerate(columns, start=2)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check that every row names a pack and a possible place."""
        what = "a page of locations"
        fields = Fields.of(data, what=what, known=range(1, 7))
        packs, columns = fields.raw(1), [fields.raw(key) for key in range(2, 7)]
        rows = len(columns[0]) // 4
        if len(packs) % PACK_REF_BYTES or any(len(column) != 4 * rows for column in columns) or rows > MAX_PAGE_FRAMES:
            raise FormatError(f"{what} is damaged: its columns do not fit together")
        pack, index, offset, length, raw_size = (np.frombuffer(column, "<u4").astype(np.uint32) for column in columns)
        refs = tuple(PackRef.from_raw(packs[at : at + PACK_REF_BYTES]) for at in range(0, len(packs), PACK_REF_BYTES))
        possible = rows == 0 or (
            int(pack.max()) < len(refs) and int(raw_size.max()) <= MAX_FRAME_BYTES and int(length.min()) > TAG_BYTES
        )
        if not possible:
            raise FormatError(f"{what} is damaged: a row names no pack or is too long")
        index = _accumulated(index, np.ones_like(index), pack)
        offset = _accumulated(offset, length, pack)
        return cls(refs, pack, index, offset, length, raw_size)


def _predicted(values: Column, steps: Column, pack: Column) -> Column:
    """Return what each row would be if it followed the row before in the same pack, else 0 (modulo 2^32)."""
    predicted = np.zeros_like(values)
    if len(values) < 2:
        return predicted
    same = pack[1:] == pack[:-1]
    predicted[1:][same] = (values[:-1] + steps[:-1])[same]
    return predicted


def _accumulated(differences: Column, steps: Column, pack: Column) -> Column:
    """Undo `_predicted`: a running sum of differences and steps that begins anew where the pack changes."""
    if len(differences) < 2:
        return differences
    increments = differences.astype(np.uint64)
    same = np.concatenate(([False], pack[1:] == pack[:-1]))
    increments[1:] += np.where(same[1:], steps[:-1], 0).astype(np.uint64)
    total = np.cumsum(increments, dtype=np.uint64)
    starts = np.flatnonzero(~same)
    run = np.cumsum(~same) - 1
    before = np.concatenate(([0], total))[starts].astype(np.uint64)
    accumulated: Column = (total - before[run]).astype(np.uint32)
    return accumulated
