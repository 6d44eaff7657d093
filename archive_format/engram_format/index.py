"""The deduplication index: where content already lies, for writers only (SPEC.md section 11).

Stored as runs of sorted columns, 30 bytes a frame; in memory the same columns of all runs, sorted together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.encoding import Fields, encode
from engram_format.errors import FormatError
from engram_format.ids import ContentId
from engram_format.location import PACK_REF_BYTES, Location, PackRef
from engram_format.pack import FramePlace

MAX_RUN_FRAMES: Final = 32_768
"""So that a run fits one frame of a pack."""

_ID_BYTES: Final = 16
"""Content ids are cut to 128 bits here; two of 10^9 frames agree with a chance of 10^-21."""
_COLUMNS: Final = ("<u8", "<u8", "<u4", "<u2", "<u4", "<u4")


@dataclass(frozen=True, slots=True, eq=False)
class IndexRun:
    """Frames sorted by content id: columns of equal length."""

    packs: tuple[PackRef, ...]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    pack: NDArray[np.uint32]
    index: NDArray[np.uint16]
    offset: NDArray[np.uint32]
    length: NDArray[np.uint32]

    @classmethod
    def of(cls, entries: Mapping[ContentId, Location]) -> Self:
        """Sort entries into a run."""
        numbers: dict[PackRef, int] = {}
        rows = [
            (
                int.from_bytes(content.raw[:8], "big"),
                int.from_bytes(content.raw[8:_ID_BYTES], "big"),
                numbers.setdefault(location.pack, len(numbers)),
                location.place.index,
                location.place.offset,
                location.place.length,
            )
            for content, location in sorted(entries.items())
        ]
        high, low, pack, index, offset, length = zip(*rows, strict=True) if rows else ((),) * 6
        return cls(
            tuple(numbers),
            np.array(high, np.uint64),
            np.array(low, np.uint64),
            np.array(pack, np.uint32),
            np.array(index, np.uint16),
            np.array(offset, np.uint32),
            np.array(length, np.uint32),
        )

    @classmethod
    def merged(cls, runs: Sequence[Self]) -> Self:
        """Merge runs into one, sorted; packs that several runs name are named once."""
        numbers: dict[PackRef, int] = {}
        packs: list[NDArray[np.uint32]] = []
        for run in runs:
            renumber = np.array([numbers.setdefault(ref, len(numbers)) for ref in run.packs] or [0], np.uint32)
            packs.append(renumber[run.pack])
        high = np.concatenate([run.high for run in runs] or [np.empty(0, np.uint64)])
        low = np.concatenate([run.low for run in runs] or [np.empty(0, np.uint64)])
        order = np.lexsort((low, high))
        return cls(
            tuple(numbers),
            high[order],
            low[order],
            np.concatenate(packs or [np.empty(0, np.uint32)])[order],
            np.concatenate([run.index for run in runs] or [np.empty(0, np.uint16)])[order],
            np.concatenate([run.offset for run in runs] or [np.empty(0, np.uint32)])[order],
            np.concatenate([run.length for run in runs] or [np.empty(0, np.uint32)])[order],
        )

    def __len__(self) -> int:
        return len(self.high)

    def find(self, content: ContentId, *, raw_size: int) -> Location | None:
        """Return one place where content of that id, `raw_size` bytes long, lies."""
        return next(self.places(content, raw_size=raw_size), None)

    def places(self, content: ContentId, *, raw_size: int) -> Iterator[Location]:
        """Yield all places where content of that id, `raw_size` bytes long, lies: more than one after a loss."""
        wanted_high = np.uint64(int.from_bytes(content.raw[:8], "big"))
        wanted_low = np.uint64(int.from_bytes(content.raw[8:_ID_BYTES], "big"))
        row = int(np.searchsorted(self.high, wanted_high))
        while row < len(self) and self.high[row] == wanted_high:
            if self.low[row] == wanted_low:
                place = FramePlace(int(self.index[row]), int(self.offset[row]), int(self.length[row]), raw_size)
                yield Location(self.packs[int(self.pack[row])], place)
            row += 1

    def pieces(self) -> Iterable[Self]:
        """Cut into runs short enough to be stored."""
        for at in range(0, len(self), MAX_RUN_FRAMES):
            rows = slice(at, at + MAX_RUN_FRAMES)
            used = np.unique(self.pack[rows])
            pack = np.asarray(np.searchsorted(used, self.pack[rows]), np.uint32)
            yield type(self)(
                tuple(self.packs[int(number)] for number in used),
                self.high[rows],
                self.low[rows],
                pack,
                self.index[rows],
                self.offset[rows],
                self.length[rows],
            )

    def to_bytes(self) -> bytes:
        """Encode."""
        columns: tuple[NDArray[np.unsignedinteger], ...] = (
            self.high,
            self.low,
            self.pack,
            self.index,
            self.offset,
            self.length,
        )
        stored = {
            key: column.astype(dtype).tobytes()
            for key, (column, dtype) in enumerate(zip(columns, _COLUMNS, strict=True), start=2)
        }
        return encode({1: b"".join(pack.raw for pack in self.packs)} | stored)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check order and references."""
        what = "an index run"
        fields = Fields.of(data, what=what, known=range(1, 8))
        packs = fields.raw(1)
        raws = [fields.raw(key) for key in range(2, 8)]
        rows = len(raws[0]) // 8
        fits = all(len(raw) == rows * np.dtype(dtype).itemsize for raw, dtype in zip(raws, _COLUMNS, strict=True))
        if not fits or len(packs) % PACK_REF_BYTES or rows > MAX_RUN_FRAMES:
            raise FormatError(f"{what} is damaged: its columns do not fit together")
        refs = tuple(PackRef.from_raw(packs[at : at + PACK_REF_BYTES]) for at in range(0, len(packs), PACK_REF_BYTES))
        run = cls(
            refs,
            np.frombuffer(raws[0], "<u8").astype(np.uint64),
            np.frombuffer(raws[1], "<u8").astype(np.uint64),
            np.frombuffer(raws[2], "<u4").astype(np.uint32),
            np.frombuffer(raws[3], "<u2").astype(np.uint16),
            np.frombuffer(raws[4], "<u4").astype(np.uint32),
            np.frombuffer(raws[5], "<u4").astype(np.uint32),
        )
        falls = (run.high[1:] < run.high[:-1]) | ((run.high[1:] == run.high[:-1]) & (run.low[1:] < run.low[:-1]))
        if rows and (int(run.pack.max()) >= len(refs) or bool(falls.any())):
            raise FormatError(f"{what} is damaged: it is not sorted or names no pack")
        return run
