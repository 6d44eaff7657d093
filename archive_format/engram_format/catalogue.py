"""The catalogue: what `find` searches, a row for each artifact of a version, in columns (SPEC.md section 9.3).

A page answers conditions without anything else being read: it holds what a version's tree and its manifests say of the
artifacts, and what their descriptions say of their series. It can be made again from these at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engram_format.catalog import Kind, Metadata, Scalar
from engram_format.catalogue_column import PAGE, Column, Rows, all_below, as_rows, columns_of, joined, split
from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import FormatError
from engram_format.ids import Digest
from engram_format.series import Description

Facts = Mapping[str, tuple[Scalar, ...]]
"""What is known of an artifact by its description: for each name the different values that its series have."""

MAX_ROWS: Final = 65_536
PAGE_BYTES: Final = 2**20
"""About how much a page holds; a single artifact may take more, up to 1.5 MiB."""

_KINDS: Final = tuple(Kind)
_KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_MAX_FACT_VALUES: Final = 1024
_MAX_FACT_CHARS: Final = 256
_MAX_FACT_BYTES: Final = 512 * 1024
_ROW_BYTES: Final = 128
_VALUE_BYTES: Final = 48
"""Upper bounds of what a row and a value take beside their texts."""


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """All that `find` knows of one artifact."""

    path: str
    kind: Kind
    size: int
    sha256: Digest
    time_ns: int
    stored_size: int
    frames: int
    mode: int = 0
    made_from: tuple[Digest, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)

    @property
    def bytes_bound(self) -> int:
        """At least what the row takes in a page."""
        values = sum(_bound(name, value) for name, value in self.metadata.items())
        facts = sum(_bound(name, value) for name, held in self.facts.items() for value in held)
        return _ROW_BYTES + len(self.path.encode()) + Digest.LENGTH * len(self.made_from) + values + facts


def facts_of(description: Description | None) -> dict[str, tuple[Scalar, ...]]:
    """Return what is to be found of an artifact by its series; of too many values, and of too long texts, some are left out."""
    if description is None:
        return {}
    found: dict[str, dict[Scalar, None]] = {"family": {description.family: None}}
    room = _MAX_FACT_BYTES
    for series in description.series:
        info = series.info
        told: dict[str, Scalar] = {
            "series.name": info.name,
            "series.dtype": info.dtype,
            "series.samples": info.samples,
            "series.channels": info.view_shape[1] if len(info.view_shape) > 1 else 1,
            "series.sampling_rate": float(info.sampling_rate),
            "series.duration": info.samples / info.sampling_rate if info.sampling_rate else 0.0,
            "series.unit": info.unit,
            "series.role": info.role,
        }
        for name, value in told.items():
            held = found.setdefault(name, {})
            unknown = value in ("", 0.0) and name not in ("series.samples", "series.channels")
            too_long = isinstance(value, str) and len(value) > _MAX_FACT_CHARS
            if unknown or too_long or value in held or len(held) == _MAX_FACT_VALUES or room < _bound(name, value):
                continue
            room -= _bound(name, value)
            held[value] = None
    return {name: tuple(held) for name, held in found.items() if held}


@dataclass(frozen=True, eq=False)
class CataloguePage:
    """Artifacts of one version, sorted by path."""

    paths: tuple[str, ...]
    kinds: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    stored_sizes: NDArray[np.int64]
    frames: NDArray[np.int64]
    modes: Rows
    digests: bytes
    """32 bytes for each row."""
    origin_rows: Rows
    """The row of each digest in `origins`."""
    origins: bytes
    metadata: tuple[Column, ...]
    facts: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def of(cls, rows: Sequence[CatalogueRow]) -> Self:
        """Arrange rows, which are sorted by path, in columns."""
        return cls(
            paths=tuple(row.path for row in rows),
            kinds=np.array([_KIND_NUMBERS[row.kind] for row in rows], np.uint8),
            sizes=np.array([row.size for row in rows], np.int64),
            times=np.array([row.time_ns for row in rows], np.int64),
            stored_sizes=np.array([row.stored_size for row in rows], np.int64),
            frames=np.array([row.frames for row in rows], np.int64),
            modes=np.array([row.mode for row in rows], np.uint32),
            digests=b"".join(row.sha256.raw for row in rows),
            origin_rows=np.array([number for number, row in enumerate(rows) for _ in row.made_from], np.uint32),
            origins=b"".join(digest.raw for row in rows for digest in row.made_from),
            metadata=columns_of((n, name, value) for n, row in enumerate(rows) for name, value in row.metadata.items()),
            facts=columns_of(
                (number, name, value)
                for number, row in enumerate(rows)
                for name, held in row.facts.items()
                for value in held
            ),
        )

    def rows(self, marked: NDArray[np.bool_] | None = None) -> Iterator[CatalogueRow]:
        """Yield the rows, or those that are marked."""
        marked = np.ones(len(self), np.bool_) if marked is None else marked
        metadata: dict[int, dict[str, Scalar]] = {}
        for column in self.metadata:
            for row, value in column.pairs(marked):
                metadata.setdefault(row, {})[column.name] = value
        facts: dict[int, dict[str, tuple[Scalar, ...]]] = {}
        for column in self.facts:
            for row, value in column.pairs(marked):
                told = facts.setdefault(row, {})
                told[column.name] = (*told.get(column.name, ()), value)
        origins: dict[int, list[Digest]] = {}
        for number, row in enumerate(self.origin_rows.tolist()):
            origins.setdefault(row, []).append(Digest(self.origins[32 * number : 32 * number + 32]))
        numbers = (self.kinds, self.sizes, self.times, self.stored_sizes, self.frames, self.modes)
        held = zip(np.flatnonzero(marked).tolist(), *(column[marked].tolist() for column in numbers), strict=True)
        for row, kind, size, time_ns, stored_size, count, mode in held:
            yield CatalogueRow(
                path=self.paths[row],
                kind=_KINDS[kind],
                size=size,
                sha256=Digest(self.digests[32 * row : 32 * row + 32]),
                time_ns=time_ns,
                stored_size=stored_size,
                frames=count,
                mode=mode,
                made_from=tuple(origins.get(row, ())),
                metadata=metadata.get(row, {}),
                facts=facts.get(row, {}),
            )

    def columns(self, name: str) -> Iterator[Column]:
        """Yield the columns of a name, of metadata and of facts."""
        return (column for column in (*self.metadata, *self.facts) if column.name == name)

    @cached_property
    def names(self) -> frozenset[str]:
        """All names for which an artifact of the page has a value."""
        return frozenset(column.name for column in (*self.metadata, *self.facts))

    def to_bytes(self) -> bytes:
        """Encode."""
        lengths, paths = joined(self.paths)
        numbers = (self.sizes, self.times, self.stored_sizes, self.frames)
        columns: dict[int, Encodable] = {
            key: column.astype("<i8").tobytes() for key, column in enumerate(numbers, start=5)
        }
        own: dict[int, Encodable] = {
            1: 1,
            2: lengths,
            3: paths,
            4: self.kinds.tobytes(),
            9: self.modes.astype("<u4").tobytes(),
            10: self.digests,
            11: self.origin_rows.astype("<u4").tobytes(),
            12: self.origins,
            13: [column.to_value() for column in self.metadata],
            14: [column.to_value() for column in self.facts],
        }
        return encode(own | columns)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check that the columns fit together and that paths are sorted; raises `FormatError`."""
        fields = Fields.of(data, what=PAGE, known=range(1, 15))
        if fields.integer(1) != 1:
            raise FormatError(f"{PAGE} was written by a newer version of Engram")
        paths = tuple(split(fields.raw(2), fields.raw(3)))
        count = len(paths)
        if count > MAX_ROWS or any(first >= second for first, second in pairwise(paths)):
            raise FormatError(f"{PAGE} is damaged: it has too many rows, or its paths are not sorted")
        sizes, times, stored_sizes, frames = (
            np.frombuffer(fields.raw(key, 8 * count), "<i8").astype(np.int64) for key in range(5, 9)
        )
        page = cls(
            paths=paths,
            kinds=np.frombuffer(fields.raw(4, count), np.uint8),
            sizes=sizes,
            times=times,
            stored_sizes=stored_sizes,
            frames=frames,
            modes=as_rows(fields.raw(9, 4 * count)),
            digests=fields.raw(10, Digest.LENGTH * count),
            origin_rows=as_rows(fields.raw(11)),
            origins=fields.raw(12),
            metadata=tuple(Column.from_value(item, count=count, repeats=False) for item in fields.array(13)),
            facts=tuple(Column.from_value(item, count=count, repeats=True) for item in fields.array(14)),
        )
        sound = (
            all_below(page.kinds, len(_KINDS))
            and all_below(page.origin_rows, count)
            and bool((np.diff(page.origin_rows.astype(np.int64)) >= 0).all())
            and len(page.origins) == Digest.LENGTH * len(page.origin_rows)
            and all((column >= 0).all() for column in (sizes, stored_sizes, frames))
            and len({(column.name, column.type) for column in page.metadata}) == len(page.metadata)
        )
        if not sound:
            raise FormatError(f"{PAGE} is damaged: its columns do not fit together")
        return page


def cut_rows(rows: Sequence[CatalogueRow]) -> Iterator[Sequence[CatalogueRow]]:
    """Cut rows into the fewest parts that pages can hold, of about equal size, so that what is inserted later seldom cuts again."""
    sizes = [row.bytes_bound for row in rows]
    parts = max(-(-sum(sizes) // PAGE_BYTES), -(-len(rows) // MAX_ROWS))
    share = sum(sizes) / max(parts, 1)
    first, held = 0, 0
    for number, size in enumerate(sizes):
        if number > first and (held + size > PAGE_BYTES or held >= share or number - first == MAX_ROWS):
            yield rows[first:number]
            first, held = number, 0
        held += size
    if first < len(rows):
        yield rows[first:]


def without_odd_numbers(row: CatalogueRow) -> CatalogueRow:
    """Return a row of which every integer fits a column of 64 bits with a sign, as those of every deposit do."""
    odd = {name: float(v) for name, v in row.metadata.items() if type(v) is int and not -(2**63) <= v < 2**63}
    return replace(row, metadata={**row.metadata, **odd}) if odd else row


def _bound(name: str, value: Scalar) -> int:
    text = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 8
    return _VALUE_BYTES + len(name.encode("utf-8", "surrogatepass")) + text


__all__ = [
    "MAX_ROWS",
    "PAGE_BYTES",
    "CataloguePage",
    "CatalogueRow",
    "Column",
    "Facts",
    "cut_rows",
    "facts_of",
    "without_odd_numbers",
]
