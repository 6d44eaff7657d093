"""Verification: whether everything that versions stand on is there, whole, and what was deposited."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from engram_format import shards
from engram_format.catalog import Finding, FindingKind
from engram_format.errors import Damaged, NotFound, Precondition
from engram_format.history import History
from engram_format.ids import ObjectName
from engram_format.record import Record
from engram_format.session import SessionHeader
from engram_store.reader import Found, VaultReader


def verify_log(reader: VaultReader) -> Iterator[Finding]:
    """Check the chain of a vault's log and the key of every session that it names."""
    store = reader.store
    where = f"{store.name}: log"
    try:
        history = reader.history()
        store.check_end()
    except Damaged as error:
        yield Finding(where, FindingKind.LOST, 0, str(error))
        return
    for seq in history.unreadable:
        detail = "its payload or its session's key cannot be read: restore both from a replica"
        yield Finding(f"{store.name}: {Record.key_for(seq)}", FindingKind.LOST, 0, detail)
    for session in history.sessions:
        key = SessionHeader.key_for(session)
        try:
            size = len(store.check_session(session))
            yield Finding(f"{store.name}: {key}", FindingKind.SOUND, size)
        except (Damaged, Precondition) as error:
            yield Finding(f"{store.name}: {key}", FindingKind.LOST, 0, str(error))
    yield Finding(where, FindingKind.SOUND, history.length)


def verify_objects(reader: VaultReader, names: Iterable[ObjectName]) -> Iterator[Finding]:
    """Compare the shards of objects with their public hashes; needs no key."""
    backend = reader.store.backend
    for name in names:
        subject = f"{reader.store.name}: {name.key}"
        try:
            data = memoryview(backend.get(name.key))
        except NotFound:
            yield Finding(subject, FindingKind.LOST, 0, "the object is missing: restore it from a replica")
            continue
        yield _inspect(subject, data)


def verify_artifacts(reader: VaultReader, artifacts: Iterable[Found]) -> Iterator[Finding]:
    """Read artifacts whole and compare their SHA-256."""
    for found in artifacts:
        subject = f"{reader.store.name}/{found.commit.memory}@{found.commit.number}:{found.entry.path}"
        try:
            size = sum(map(len, reader.read(reader.manifest(found))))
            yield Finding(subject, FindingKind.SOUND, size)
        except Damaged as error:
            yield Finding(subject, FindingKind.LOST, 0, str(error))


def all_objects(history: History) -> list[ObjectName]:
    """Return the names of all objects that the sessions of a vault have written."""
    commits = (commit for versions in history.commits.values() for commit in versions)
    return sorted({name for commit in commits for name in (*commit.objects, *commit.depends)})


def objects_of(reader: VaultReader, artifacts: Iterable[Found]) -> list[ObjectName]:
    """Return the names of the objects that artifacts stand on, as far as their manifests can be read."""
    names: set[ObjectName] = set()
    for found in artifacts:
        names.update(pack.name for pack in found.commit.tree.packs)
        names.add(found.manifest_at.pack.name)
        with contextlib.suppress(Damaged):  # verify_artifacts reports it, with the artifact's name
            for page in reader.locations(reader.manifest(found)):
                names.update(pack.name for pack in page.packs)
    return sorted(names)


def _inspect(subject: str, data: memoryview) -> Finding:
    try:
        found = shards.inspect(data)
    except Damaged as error:
        return Finding(subject, FindingKind.LOST, len(data), f"{error}: restore it from a replica")
    if found.sound:
        return Finding(subject, FindingKind.SOUND, len(data))
    damage = f"{len(found.damaged)} of its shards and {'its' if found.tail_damaged else 'no'} footer are damaged"
    if found.repairable:
        detail = f"{damage}; readers rebuild it from parity: restore the object from a replica before more is lost"
        return Finding(subject, FindingKind.REPAIRABLE, len(data), detail)
    return Finding(
        subject, FindingKind.LOST, len(data), f"{damage}, more than its parity rebuilds: restore it from a replica"
    )
