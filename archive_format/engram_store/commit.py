"""Committing a session: manifests, the version's tree, and one record in the log (SPEC.md sections 10 and 11)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self

from engram_format.catalog import ArtifactSpec, Folder, Kind
from engram_format.catalogue import CatalogueRow
from engram_format.codecs import Zstd
from engram_format.errors import Conflict, InvalidInput
from engram_format.folders import folders_above
from engram_format.history import Commit, History, run_name
from engram_format.ids import ContentId, Digest, ObjectName, SessionId
from engram_format.index import IndexRun
from engram_format.location import Location, LocationPage, PackRef
from engram_format.manifest import Manifest, Segment, TreeEntry, TreePage, page_entries
from engram_format.record import Record, RecordKind
from engram_format.series import Description
from engram_format.session import SessionKey
from engram_store.backend import exists
from engram_store.catalogue import row_of, write_catalogue
from engram_store.dedup import KnownContent, mergeable, read_runs
from engram_store.folders import write_folders
from engram_store.frames import FrameReader
from engram_store.packing import WORDS_BYTES, WORDS_LEVEL, PackWriter, encode_verified
from engram_store.rows import Rows
from engram_store.tree import read_tree
from engram_store.vault import VaultStore

_META_ROLE: Final = "meta"
_LEVEL: Final = 3
_SALT_BYTES: Final = 16
_DESCRIPTION_FRAME_BYTES: Final = 2 * 2**20


@dataclass(frozen=True, slots=True)
class Ended:
    """An artifact whose bytes are complete."""

    spec: ArtifactSpec
    kind: Kind
    sha256: Digest
    rows: Rows
    segments: tuple[Segment, ...]
    description: Description | None = None

    @property
    def entry(self) -> TreeEntry:
        """How it stands in a version's tree."""
        return TreeEntry(
            path=self.spec.path,
            kind=self.kind,
            size=self.spec.size,
            sha256=self.sha256,
            time_ns=self.spec.time_ns,
            stored_size=self.rows.stored_size,
            frames=self.rows.count,
        )

    @property
    def packs(self) -> Iterator[PackRef]:
        """The packs that hold its frames."""
        return (pack for page in self.rows.pages() for pack in page.packs)

    def manifest(self, writer: MetaWriter) -> Manifest:
        """Return its manifest, after what that refers to has been written."""
        pages = self.rows.pages()
        inline = pages[0] if self.rows.fits_inline else None
        return Manifest(
            kind=self.kind,
            size=self.spec.size,
            sha256=self.sha256,
            time_ns=self.spec.time_ns,
            metadata=self.spec.metadata,
            made_from=tuple(Digest.parse(digest) for digest in self.spec.made_from),
            segments=self.segments,
            inline=inline,
            pages=None if inline is not None else LocationPage.of([writer.add(page.to_bytes()) for page in pages]),
            page_starts=() if inline is not None else self.rows.page_starts(),
            description=None if self.description is None else _write_description(writer, self.description),
            mode=self.spec.mode,
        )


class Item(Protocol):
    """An artifact that a version adds or changes."""

    @property
    def entry(self) -> TreeEntry:
        """How it stands in the version's tree."""
        ...

    @property
    def description(self) -> Description | None:
        """What is in it."""
        ...

    @property
    def packs(self) -> Iterable[PackRef]:
        """The packs that it needs."""
        ...

    def manifest(self, writer: MetaWriter) -> Manifest:
        """Return its manifest, after what that refers to has been written."""
        ...


class MetaWriter:
    """Writes frames that describe, into packs of the same form as all others."""

    def __init__(
        self, store: VaultStore, key: SessionKey, session: SessionId, *, parity: bool, entropy: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._packs = PackWriter(
            store,
            key,
            session,
            role=_META_ROLE,
            parity=parity,
            first=_first_free(store, key),
            trail=lambda: b"",
            stored=lambda: None,
            entropy=entropy,
        )

    def add(self, body: bytes) -> Location:
        """Store one encoded object as a frame."""
        content = ContentId.of(body, id_key=self._store.id_key)
        level = WORDS_LEVEL if len(body) <= WORDS_BYTES else _LEVEL
        return self._packs.add(encode_verified(body, (Zstd(level=level),)), content=content, trail_bytes=0)

    def finish(self) -> list[ObjectName]:
        """Put everything; return the names of the objects."""
        self._packs.finish()
        self._packs.close()
        return self._packs.names

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._packs.close()


def commit_session(
    store: VaultStore,
    frames: FrameReader,
    key: SessionKey,
    session: SessionId,
    *,
    memory: str,
    ended: Sequence[Item],
    known: KnownContent,
    packs: list[ObjectName],
    message: str,
    author: str,
    parity: bool,
    clock: Callable[[], int],
    entropy: Callable[[int], bytes],
    folders: Mapping[str, Folder] = MappingProxyType({}),
    based_on: History | None = None,
    follow: Callable[[History], Sequence[Item]] | None = None,
) -> Commit:
    """Describe the session's artifacts and append them as the memory's next version; return it.

    `folders` holds what is known of folders in it, by path. Idempotent by session. A writer that finds its slot taken reads
    what was written there and tries the next one. Where what is committed depends on the version before it, that is the
    newest of `based_on`, and `follow` says what it is after another writer's.
    """
    history = based_on or store.refresh()
    runs = read_runs(frames, mergeable(history))
    index = IndexRun.merged([known.written(), *runs.values()])
    index_drops = tuple(sorted(map(run_name, runs)))
    with MetaWriter(store, key, session, parity=parity, entropy=entropy) as writer:
        described = _describe(writer, ended)
        index_adds = LocationPage.of(writer.add(piece.to_bytes()) for piece in index.pieces())
        tree = _write_tree(writer, frames, history, memory, described, folders)
        packs = [*packs, *writer.finish()]
    while True:
        if session in history.sessions:
            return _require_same(frames, history.at(*history.sessions[session]), ended)
        history.require_readable()
        store.check_end(history)
        depends = tuple(sorted({pack.name for item in ended for pack in item.packs}.difference(packs)))
        condemned = history.condemned.intersection((*packs, *depends))
        if condemned:
            raise Conflict(f"{len(condemned)} objects that this session needs were collected meanwhile: deposit again")
        versions = history.commits.get(memory, ())
        commit = Commit(
            memory=memory,
            number=len(versions) + 1,
            parents=tuple(version.version_id for version in versions[-1:]),
            author=author,
            message=message,
            time_ns=clock(),
            tree=tree.pages,
            artifacts=tree.artifacts,
            added=len(ended),
            objects=tuple(sorted(packs)),
            depends=depends,
            index_adds=index_adds,
            index_drops=index_drops,
            catalogue=tree.catalogue,
            folders=tree.folders,
        )
        if _append(store, history, key, session, commit, salt=entropy(_SALT_BYTES)):
            store.refresh()
            return commit
        newer = store.refresh()
        if len(newer.commits.get(memory, ())) != len(versions):  # another writer was first in this very memory
            with MetaWriter(store, key, session, parity=parity, entropy=entropy) as writer:
                if follow is not None:
                    ended = follow(newer)
                    described = _describe(writer, ended)
                tree = _write_tree(writer, frames, newer, memory, described, folders)
                packs = [*packs, *writer.finish()]
        history = newer


@dataclass(frozen=True, slots=True)
class _Described:
    """An artifact whose manifest is written."""

    entry: TreeEntry
    manifest_at: Location
    row: CatalogueRow


@dataclass(frozen=True, slots=True)
class _Tree:
    """The tree of a version as it is written, its catalogue and its folders."""

    pages: LocationPage
    artifacts: int
    catalogue: LocationPage | None
    folders: LocationPage | None


def _describe(writer: MetaWriter, ended: Iterable[Item]) -> dict[str, _Described]:
    described = {}
    for item in ended:
        entry, manifest = item.entry, item.manifest(writer)
        row = row_of(entry, manifest, item.description)
        described[entry.path] = _Described(entry, writer.add(manifest.to_bytes()), row)
    return described


def _require_same(frames: FrameReader, commit: Commit, ended: Iterable[Item]) -> Commit:
    """Return what the session committed, if that is what was to be committed now."""
    held = {entry.path: entry.sha256 for entry, _ in read_tree(frames, commit)}
    if any(held.get(item.entry.path) != item.entry.sha256 for item in ended):
        raise Conflict(
            "another process has committed this session with other artifacts: deposit yours in a new session"
        )
    return commit


def _append(
    store: VaultStore, history: History, key: SessionKey, session: SessionId, commit: Commit, *, salt: bytes
) -> bool:
    place = Record(history.length, history.last_digest, RecordKind.COMMIT, session, b"")
    payload = key.encrypt_payload(commit.to_bytes(), salt=salt, context=place.context)
    return store.append(Record(place.seq, place.previous, place.kind, place.session, payload))


def _write_description(writer: MetaWriter, description: Description) -> LocationPage:
    data = description.to_bytes()
    return LocationPage.of(
        writer.add(data[start : start + _DESCRIPTION_FRAME_BYTES])
        for start in range(0, len(data), _DESCRIPTION_FRAME_BYTES)
    )


def _write_tree(
    writer: MetaWriter,
    frames: FrameReader,
    history: History,
    memory: str,
    described: Mapping[str, _Described],
    folders: Mapping[str, Folder],
) -> _Tree:
    """Write the tree of the next version: the newest one's entries, with ours in place of those of the same path."""
    versions = history.commits.get(memory, ())
    newest = versions[-1] if versions else None
    before = {} if newest is None else {entry.path: (entry, location) for entry, location in read_tree(frames, newest)}
    entries = before | {path: (item.entry, item.manifest_at) for path, item in described.items()}
    _check_folders(entries)
    pages = []
    for page in page_entries(entry for entry, _ in entries.values()):
        located = LocationPage.of(entries[entry.path][1] for entry in page)
        pages.append(writer.add(TreePage(tuple(page), located).to_bytes()))
    rows = {path: item.row for path, item in described.items()}
    catalogue = write_catalogue(writer.add, frames, newest, before.values, rows)
    folders_at = write_folders(writer.add, frames, newest, folders, entries)
    return _Tree(LocationPage.of(pages), len(entries), catalogue, folders_at)


def _first_free(store: VaultStore, key: SessionKey) -> int:
    """Return the first number under which the session has no describing pack, left by an attempt that was cut."""
    numbers = itertools.count()
    return next(number for number in numbers if not exists(store.backend, key.object_name(_META_ROLE, number).key))


def _check_folders(paths: Mapping[str, object]) -> None:
    """Raise `InvalidInput` where one path is an artifact and a folder of others: such a version could not be restored."""
    for path in paths:
        for folder in folders_above(path):
            if folder in paths:
                raise InvalidInput(f"{path!r} cannot lie below {folder!r}, which is an artifact: choose another path")
