"""Verification: whether everything that versions stand on is there, whole, and what was deposited."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from engram_format.catalog import Finding, FindingKind
from engram_format.errors import Damaged, Precondition
from engram_format.history import Commit, History
from engram_format.ids import ObjectName
from engram_format.location import Location
from engram_format.record import Record
from engram_format.session import SessionHeader
from engram_store.inspection import inspect_object
from engram_store.many import read_many
from engram_store.reader import Found, VaultReader


def verify_log(reader: VaultReader) -> Iterator[Finding]:
    """Check the chain of a vault's log and the key of every session that it names."""
    store = reader.store
    where = f"{store.name}: log"
    try:
        history = reader.history()
        store.check_end(history)
    except Damaged as error:
        yield Finding(where, FindingKind.LOST, 0, str(error))
        return
    for seq in history.unreadable:
        detail = "its payload or its session's key cannot be read: restore both from a copy"
        yield Finding(f"{store.name}: {Record.key_for(seq)}", FindingKind.LOST, 0, detail)
    for session in history.sessions:
        key = SessionHeader.key_for(session)
        try:
            size = len(store.check_session(session))
            yield Finding(f"{store.name}: {key}", FindingKind.SOUND, size)
        except (Damaged, Precondition) as error:
            yield Finding(f"{store.name}: {key}", FindingKind.LOST, 0, str(error))
    if not history.unreadable:
        yield Finding(where, FindingKind.SOUND, 0)


def verify_objects(reader: VaultReader, names: Iterable[ObjectName]) -> Iterator[Finding]:
    """Compare the shards of objects with their public hashes; needs no key."""
    for name in names:
        found = inspect_object(reader.store.backend, name.key)
        yield replace(found, subject=f"{reader.store.name}: {found.subject}")


def verify_versions(
    reader: VaultReader, commits: Iterable[Commit], *, below: str | None = None, read_data: bool
) -> Iterator[Finding]:
    """Follow versions to their manifests, each artifact once; with `read_data` read it whole and compare its SHA-256."""
    seen: set[Location] = set()
    for commit in commits:
        version = f"{reader.store.name}/{commit.memory}@{commit.number}"
        try:
            for found, _, pieces in read_many(
                reader, _unseen(reader.entries(commit, below=below), seen), data=read_data
            ):
                yield _verify_artifact(pieces, subject=f"{version}:{found.entry.path}")
        except Damaged as error:
            yield Finding(version, FindingKind.LOST, 0, f"its tree cannot be read: {error}")
        try:
            deque(reader.folders(commit, below=below), maxlen=0)
        except Damaged as error:
            yield Finding(version, FindingKind.LOST, 0, f"what is known of its folders cannot be read: {error}")


def _unseen(entries: Iterable[Found], seen: set[Location]) -> Iterator[Found]:
    for found in entries:
        if found.manifest_at not in seen:
            seen.add(found.manifest_at)
            yield found


def _verify_artifact(pieces: Iterable[bytes], *, subject: str) -> Finding:
    try:
        size = sum(map(len, pieces))
    except Damaged as error:
        return Finding(subject, FindingKind.LOST, 0, str(error))
    return Finding(subject, FindingKind.SOUND, size)


def all_objects(history: History) -> list[ObjectName]:
    """Return the names of all objects that the sessions of a vault have written."""
    commits = (commit for versions in history.commits.values() for commit in versions)
    return sorted({name for commit in commits for name in (*commit.objects, *commit.depends)})


def objects_of(reader: VaultReader, commit: Commit, *, below: str | None) -> list[ObjectName]:
    """Return the names of the objects that artifacts of a version stand on, as far as their descriptions can be read."""
    names: set[ObjectName] = {
        pack.name for page in (commit.tree, commit.folders) if page is not None for pack in page.packs
    }
    with contextlib.suppress(Damaged):  # verify_versions reports it, with its name
        for found in reader.entries(commit, below=below):
            names.add(found.manifest_at.pack.name)
            with contextlib.suppress(Damaged):
                for page in reader.locations(reader.manifest(found)):
                    names.update(pack.name for pack in page.packs)
    return sorted(names)
