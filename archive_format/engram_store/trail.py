"""The trail: what a pack says about the artifacts of its session, so that a cut deposit goes on (SPEC.md section 11).

Each pack carries, encrypted in its table, the rows of the recipes that were written since the pack before. Reading the
trails of a session's packs in order gives back how far each artifact had come, without any state outside the storage.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

from engram_format import shards
from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import Damaged, FormatError, NotFound
from engram_format.ids import Digest, ObjectName
from engram_format.location import PACK_REF_BYTES, Location, LocationPage, PackRef
from engram_format.pack import FrameTable, PackCipher, PackHeader, read_table
from engram_format.session import SessionKey
from engram_store.backend import Span
from engram_store.dedup import KnownContent
from engram_store.inspection import TAIL_BYTES, read_footer
from engram_store.packing import DATA_ROLE
from engram_store.rows import ROW_BYTES, Rows
from engram_store.vault import VaultStore

_HEAD_BYTES: Final = 2048
"""Enough for any pack's header."""


@dataclass(slots=True)
class Trail:
    """Rows that no stored pack tells of yet, by artifact, in the order of writing."""

    _rows: dict[str, list[Location]] = field(default_factory=dict)
    _ended: dict[str, Digest] = field(default_factory=dict)
    rows: int = 0
    bytes_bound: int = 64
    """An upper bound of the encoded length."""

    def append(self, path: str, location: Location) -> None:
        """Note that `location` is the next frame of the artifact at `path`."""
        self._open(path).append(location)
        self.rows += 1
        self.bytes_bound += ROW_BYTES + PACK_REF_BYTES

    def end(self, path: str, sha256: Digest) -> None:
        """Note that the artifact is complete."""
        self._open(path)
        self._ended[path] = sha256

    def room_for(self, path: str) -> int:
        """Return an upper bound of the encoded length with one more row for `path`."""
        return self.bytes_bound + ROW_BYTES + PACK_REF_BYTES + 4 * len(path) + 256

    def take(self) -> tuple[bytes, dict[str, int]]:
        """Encode and forget; also return the bytes that each artifact advances by."""
        items: list[Encodable] = []
        advances: dict[str, int] = {}
        for path, locations in self._rows.items():
            ended = self._ended.get(path)
            items.append([path, LocationPage.of(locations).to_bytes(), ended.raw if ended else b""])
            advances[path] = sum(location.place.raw_size for location in locations)
        self._rows, self._ended, self.rows, self.bytes_bound = {}, {}, 0, 64
        return encode({1: items}), advances

    def _open(self, path: str) -> list[Location]:
        if path not in self._rows:
            self._rows[path] = []
            self.bytes_bound += 4 * len(path) + 256
        return self._rows[path]


@dataclass(slots=True)
class Resumed:
    """How far an artifact had come when its deposit was cut."""

    rows: Rows = field(default_factory=Rows)
    sha256: Digest | None = None
    """Of the whole artifact, if it was complete."""


@dataclass(slots=True)
class Found:
    """What is left of a session in the storage."""

    names: list[ObjectName] = field(default_factory=list)
    artifacts: dict[str, Resumed] = field(default_factory=dict)


def find_session(store: VaultStore, key: SessionKey, known: KnownContent) -> Found:
    """Read the tables of a session's packs, in order, up to the first that is not there; tell `known` what they hold."""
    found = Found()
    for number in itertools.count():
        name = key.object_name(DATA_ROLE, number)
        try:
            size = store.backend.stat(name.key).size
        except NotFound:
            break
        header, table = _read_table(store, name, size, key)
        pack = PackRef(header.session, name, header.pack)
        found.names.append(name)
        for content, place in zip(table.contents, table.places, strict=True):
            known.add(content, Location(pack, place))
        _follow(table, found.artifacts)
    return found


def _read_table(store: VaultStore, name: ObjectName, size: int, key: SessionKey) -> tuple[PackHeader, FrameTable]:
    """Read a pack's table by ranges, or out of the whole pack where that is damaged and must be repaired."""
    try:
        if size > 4 * TAIL_BYTES:
            return _read_table_by_ranges(store, name, size, key)
        whole = store.backend.get(name.key)
        return read_table(memoryview(whole), key)
    except Damaged:
        whole = shards.repair(memoryview(store.backend.get(name.key)))
        return read_table(memoryview(whole), key)


def _read_table_by_ranges(
    store: VaultStore, name: ObjectName, size: int, key: SessionKey
) -> tuple[PackHeader, FrameTable]:
    header, head_bytes = PackHeader.read(store.backend.get(name.key, Span(0, _HEAD_BYTES)))
    footer, _ = read_footer(store.backend, name.key, size=size)
    cipher = PackCipher(key, header)
    offset, length = cipher.decrypt_locator(footer.locator)
    if not 0 < length <= footer.data_bytes - offset:
        raise FormatError(f"pack {header.pack} is damaged: its table lies outside it")
    table = cipher.decrypt_table(store.backend.get(name.key, Span(offset, length)))
    return header, FrameTable.from_bytes(table, first_offset=head_bytes, end=offset)


def _follow(table: FrameTable, artifacts: dict[str, Resumed]) -> None:
    fields = Fields.of(table.trail, what="a pack's trail", known=range(1, 2))
    for item in fields.array(1):
        match item:
            case [str(path), bytes(rows), bytes(sha256)]:
                artifact = artifacts.setdefault(path, Resumed())
                for location in LocationPage.from_bytes(rows):
                    artifact.rows.append(location)
                if sha256:
                    artifact.sha256 = Digest(sha256)
            case _:
                raise Damaged("a pack's trail is damaged: an item is not a path, rows and a digest")
