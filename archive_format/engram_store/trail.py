"""The trail: what a pack says about the artifacts of its session, so that a cut deposit goes on (SPEC.md section 11).

Each pack carries, encrypted in its table, the rows of the recipes that were written since the pack before. Reading the
trails of a session's packs in order gives back how far each artifact had come, without any state outside the storage.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engram_format import shards
from engram_format.encoding import Encodable, Fields, encode
from engram_format.errors import Damaged, FormatError, NotFound
from engram_format.ids import ContentId, Digest, ObjectName
from engram_format.location import Location, LocationPage, PackRef
from engram_format.pack import FrameTable, PackCipher, read_table
from engram_format.session import SessionKey
from engram_store.packing import DATA_ROLE
from engram_store.rows import PACK_REF_BYTES, ROW_BYTES, Rows
from engram_store.vault import VaultStore


@dataclass(slots=True)
class Trail:
    """Rows that no stored pack tells of yet, by artifact, in the order of writing."""

    _rows: dict[str, list[Location]] = field(default_factory=dict)
    _ended: dict[str, Digest] = field(default_factory=dict)
    rows: int = 0

    def append(self, path: str, location: Location) -> None:
        """Note that `location` is the next frame of the artifact at `path`."""
        self._rows.setdefault(path, []).append(location)
        self.rows += 1

    def end(self, path: str, sha256: Digest) -> None:
        """Note that the artifact is complete."""
        self._rows.setdefault(path, [])
        self._ended[path] = sha256

    @property
    def bytes_bound(self) -> int:
        """An upper bound of the encoded length."""
        return self.rows * (ROW_BYTES + PACK_REF_BYTES) + sum(4 * len(path) + 256 for path in self._rows)

    def take(self) -> tuple[bytes, dict[str, int]]:
        """Encode and forget; also return the bytes that each artifact advances by."""
        items: list[Encodable] = []
        advances: dict[str, int] = {}
        for path, locations in self._rows.items():
            ended = self._ended.get(path)
            items.append([path, LocationPage.of(locations).to_bytes(), ended.raw if ended else b""])
            advances[path] = sum(location.place.raw_size for location in locations)
        self._rows, self._ended, self.rows = {}, {}, 0
        return encode({1: items}), advances


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
    contents: list[tuple[ContentId, Location]] = field(default_factory=list)


def find_session(store: VaultStore, key: SessionKey) -> Found:
    """Read the packs of a session, in order, up to the first that is not there."""
    found = Found()
    number = 0
    while (data := _get(store, name := key.object_name(DATA_ROLE, number))) is not None:
        cipher, table = _read_table(data, key)
        pack = PackRef(cipher.header.session, name, cipher.header.pack)
        found.names.append(name)
        found.contents.extend(
            (content, Location(pack, place)) for content, place in zip(table.contents, table.places, strict=True)
        )
        _follow(table, found.artifacts)
        number += 1
    return found


def _get(store: VaultStore, name: ObjectName) -> bytes | None:
    try:
        return store.backend.get(name.key)
    except NotFound:
        return None


def _read_table(data: bytes, key: SessionKey) -> tuple[PackCipher, FrameTable]:
    try:
        return read_table(memoryview(data), key)
    except FormatError:
        return read_table(memoryview(shards.repair(memoryview(data))), key)


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
