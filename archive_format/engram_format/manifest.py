"""Manifests and trees: what describes an artifact, and what a version holds (SPEC.md section 9)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

import numpy as np

from engram_format.address import check_path
from engram_format.catalog import Kind, Metadata, Scalar
from engram_format.encoding import Encodable, Fields, Value, encode
from engram_format.errors import FormatError, InvalidInput
from engram_format.ids import Digest
from engram_format.location import LocationPage

INLINE_FRAMES: Final = 4096
"""A recipe of up to this many frames stands in the manifest itself; a longer one in pages of its own."""

_TREE_PAGE_BYTES: Final = 2 * 2**20
_TREE_ENTRY_BYTES: Final = 192
"""An upper bound of what an entry takes beside its path, its manifest's location included."""
OPAQUE: Final = "opaque"
"""The family of a segment of which only the bytes are known."""
MAX_METADATA_BYTES: Final = 256 * 1024
"""The longest encoding of an artifact's metadata."""
_MAP_HEAD_BYTES: Final = 9
MAX_MODE: Final = 0o7777
"""All permission bits of POSIX."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the original's bytes that was encoded in one way: `frames` frames rebuild `size` bytes."""

    family: str
    size: int
    frames: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of one artifact, and the recipe that rebuilds its bytes.

    The recipe is the concatenation of the frames in `inline`, or of those in the pages that `pages` locates.
    """

    kind: Kind
    size: int
    sha256: Digest
    time_ns: int
    metadata: Metadata
    made_from: tuple[Digest, ...]
    segments: tuple[Segment, ...]
    inline: LocationPage | None
    pages: LocationPage | None = None
    page_starts: tuple[int, ...] = ()
    """Offset in the original, in bytes, at which each page begins."""
    description: LocationPage | None = None
    """The frames whose originals, joined, are the `Description` of what is in the artifact; `None` where nothing is known."""
    mode: int = 0
    """Permission bits of the original, as its file system had them; 0 if unknown."""

    def to_bytes(self) -> bytes:
        """Encode."""
        recipe: dict[int, Encodable] = {}
        if self.inline is not None:
            recipe[8] = self.inline.to_bytes()
        if self.pages is not None:
            recipe[9] = self.pages.to_bytes()
            recipe[10] = list(self.page_starts)
        if self.description is not None:
            recipe[11] = self.description.to_bytes()
        if self.mode:
            recipe[12] = self.mode
        head: dict[int, Encodable] = {
            1: self.kind.value,
            2: self.size,
            3: self.sha256.raw,
            4: self.time_ns,
            5: dict(self.metadata),
            6: [digest.raw for digest in self.made_from],
            7: [[segment.family, segment.size, segment.frames] for segment in self.segments],
        }
        return encode(head | recipe)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check that segments and pages add up to the size."""
        what = "a manifest"
        fields = Fields.of(data, what=what, known=range(1, 13))
        segments = tuple(_segment(item, what=what) for item in fields.array(7))
        manifest = cls(
            kind=_kind(fields.text(1), what=what),
            size=fields.integer(2),
            sha256=Digest(fields.raw(3, Digest.LENGTH)),
            time_ns=fields.signed(4),
            metadata=_metadata(fields.mapping(5), what=what),
            made_from=tuple(Digest(raw) for raw in fields.raws(6, Digest.LENGTH)),
            segments=segments,
            inline=LocationPage.from_bytes(fields.raw(8)) if fields.has(8) else None,
            pages=LocationPage.from_bytes(fields.raw(9)) if fields.has(9) else None,
            page_starts=_starts(fields.array(10), what=what) if fields.has(9) else (),
            description=LocationPage.from_bytes(fields.raw(11)) if fields.has(11) else None,
            mode=fields.integer(12) if fields.has(12) else 0,
        )
        if not 0 <= manifest.mode <= MAX_MODE:
            raise FormatError("a manifest is damaged: its permission bits are more than there are")
        if (manifest.inline is None) == (manifest.pages is None):
            raise FormatError("a manifest is damaged: its recipe stands either in it or in pages")
        if manifest.inline is not None and sum(segment.frames for segment in segments) != len(manifest.inline):
            raise FormatError("a manifest is damaged: its segments do not add up to its frames")
        if sum(segment.size for segment in segments) != manifest.size:
            raise FormatError("a manifest is damaged: its segments do not add up to its size")
        if manifest.inline is not None and int(manifest.inline.raw_size.sum(dtype=np.uint64)) != manifest.size:
            raise FormatError("a manifest is damaged: its frames do not add up to its size")
        if manifest.pages is not None:
            starts = (*manifest.page_starts, manifest.size)
            if (
                not 0 < len(manifest.pages) == len(manifest.page_starts)
                or any(a >= b for a, b in pairwise(starts))
                or starts[0]
            ):
                raise FormatError("a manifest is damaged: it has not one start for each page, rising from 0")
        return manifest


def check_metadata(metadata: Metadata) -> Metadata:
    """Return the metadata if it may be stored: names of 1 to 128 characters, scalar values, at most 256 KiB in all."""
    for name, value in metadata.items():
        if not 1 <= len(name) <= 128 or not isinstance(value, str | int | float | bool):
            raise InvalidInput(
                f"metadata {name!r} is not a name of 1 to 128 characters with a text, a number or a truth value"
            )
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise InvalidInput(f"metadata {name!r} does not fit 64 bits: give it as text")
    try:
        size = len(encode(dict(metadata)))
    except ValueError as error:
        raise InvalidInput(f"the metadata cannot be stored: {error}") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(f"the metadata takes {size} bytes; at most {MAX_METADATA_BYTES} are allowed")
    return metadata


def fitting_metadata(found: Metadata, *, given: Metadata) -> Metadata:
    """Return what may be stored, beside what is given, of that which a file says of itself; the shortest has precedence.

    A depositor can shorten what is given, and not what stands in the file: for that a deposit must not fail.
    """
    room = MAX_METADATA_BYTES - len(encode(dict(check_metadata(given)))) - _MAP_HEAD_BYTES
    sizes: dict[str, int] = {}
    for name, value in found.items():
        with contextlib.suppress(InvalidInput):
            sizes[name] = len(encode({name: check_metadata({name: value})[name]}))
    fitting: set[str] = set()
    for name in sorted(sizes.keys() - given.keys(), key=lambda name: (sizes[name], name)):
        room -= sizes[name]
        if room < 0:
            break
        fitting.add(name)
    return {name: value for name, value in found.items() if name in fitting}


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One artifact in a version: what a listing shows, without opening its manifest."""

    path: str
    kind: Kind
    size: int
    sha256: Digest
    time_ns: int
    stored_size: int
    frames: int


@dataclass(frozen=True, slots=True)
class TreePage:
    """Entries of a version, sorted by path, and where the manifest of each lies."""

    entries: tuple[TreeEntry, ...]
    manifests: LocationPage = field(default_factory=lambda: LocationPage.of(()))

    def to_bytes(self) -> bytes:
        """Encode."""
        rows: list[Encodable] = [
            [entry.path, entry.kind.value, entry.size, entry.sha256.raw, entry.time_ns, entry.stored_size, entry.frames]
            for entry in self.entries
        ]
        return encode({1: rows, 2: self.manifests.to_bytes()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check that paths are allowed, sorted and unique."""
        what = "a tree"
        fields = Fields.of(data, what=what, known=range(1, 3))
        page = cls(tuple(_entry(item, what=what) for item in fields.array(1)), LocationPage.from_bytes(fields.raw(2)))
        paths = [entry.path for entry in page.entries]
        if any(first >= second for first, second in pairwise(paths)):
            raise FormatError("a tree is damaged: its paths are not sorted")
        if len(page.manifests) != len(page.entries):
            raise FormatError("a tree is damaged: it has not one manifest for each entry")
        return page


def page_entries(entries: Iterable[TreeEntry]) -> Iterator[list[TreeEntry]]:
    """Cut a version's entries, sorted by path, into pages that fit one frame each."""
    page: list[TreeEntry] = []
    room = _TREE_PAGE_BYTES
    for entry in sorted(entries, key=lambda entry: entry.path):
        needed = len(entry.path.encode()) + _TREE_ENTRY_BYTES
        if page and needed > room:
            yield page
            page, room = [], _TREE_PAGE_BYTES
        page.append(entry)
        room -= needed
    if page:
        yield page


def _starts(items: list[Value], *, what: str) -> tuple[int, ...]:
    starts = tuple(item for item in items if type(item) is int and item >= 0)
    if len(starts) != len(items):
        raise FormatError(f"{what} is damaged: where its pages begin is not a list of offsets")
    return starts


def _segment(item: Value, *, what: str) -> Segment:
    match item:
        case [str(family), int(size), int(frames)] if _counts(size, frames):
            return Segment(family, size, frames)
        case _:
            raise FormatError(f"{what} is damaged: a segment is not a family, a size and a count of frames")


def _entry(item: Value, *, what: str) -> TreeEntry:
    match item:
        case [str(path), str(kind), int(size), bytes(sha256), int(time_ns), int(stored), int(frames)] if _counts(
            size, stored, frames
        ):
            try:
                check_path(path)
            except InvalidInput as error:
                raise FormatError(f"{what} is damaged: {error}") from error
            return TreeEntry(path, _kind(kind, what=what), size, Digest(sha256), time_ns, stored, frames)
        case _:
            raise FormatError(f"{what} is damaged: an entry has not the fields of an entry")


def _counts(*values: int) -> bool:
    """Tell whether the values are counts: integers (a truth value is none), not negative."""
    return all(type(value) is int and value >= 0 for value in values)


def _kind(text: str, *, what: str) -> Kind:
    try:
        return Kind(text)
    except ValueError as error:
        raise FormatError(f"{what} has the unknown kind {text!r}") from error


def _metadata(items: dict[str, Value], *, what: str) -> Metadata:
    metadata: dict[str, Scalar] = {}
    for name, value in items.items():
        if not isinstance(value, str | int | float | bool):
            raise FormatError(f"{what} is damaged: metadata {name!r} is not a scalar")
        metadata[name] = value
    return metadata
