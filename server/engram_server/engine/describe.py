"""From what is stored to what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram_format.address import Address
from engram_format.catalog import Artifact, Memory, Vault, Version
from engram_format.history import Commit
from engram_format.manifest import Manifest
from engram_store.reader import Found, VaultReader

if TYPE_CHECKING:
    from engram_store.commit import Ended


def vault(reader: VaultReader) -> Vault:
    """Describe a vault."""
    return Vault(name=reader.store.name, vault_id=str(reader.store.vault), epoch=max(reader.store.keys))


def memory(reader: VaultReader, head: Commit) -> Memory:
    """Describe a memory by its newest version."""
    return Memory(
        address=Address(reader.store.name, head.memory),
        head=head.number,
        artifacts=head.artifacts,
        time_ns=head.time_ns,
    )


def version(vault_name: str, commit: Commit) -> Version:
    """Describe a version."""
    return Version(
        address=Address(vault_name, commit.memory, commit.number),
        version_id=str(commit.version_id),
        parents=tuple(str(parent) for parent in commit.parents),
        author=commit.author,
        message=commit.message,
        time_ns=commit.time_ns,
        artifacts=commit.artifacts,
        added=commit.added,
    )


def artifact(vault_name: str, found: Found, manifest: Manifest | None = None) -> Artifact:
    """Describe an artifact; with metadata and provenance if its manifest is given."""
    entry = found.entry
    return Artifact(
        address=Address(vault_name, found.commit.memory, found.commit.number, entry.path),
        kind=entry.kind,
        size=entry.size,
        sha256=str(entry.sha256),
        stored_size=entry.stored_size,
        frames=entry.frames,
        time_ns=entry.time_ns,
        metadata=dict(manifest.metadata) if manifest else {},
        made_from=tuple(str(digest) for digest in manifest.made_from) if manifest else (),
        mode=manifest.mode if manifest else 0,
    )


def ended(memory_address: Address, item: Ended, *, number: int) -> Artifact:
    """Describe an artifact that a session has ended, in the version that it is about to become."""
    entry = item.entry
    return Artifact(
        address=memory_address.at(number).of(entry.path),
        kind=entry.kind,
        size=entry.size,
        sha256=str(entry.sha256),
        stored_size=entry.stored_size,
        frames=entry.frames,
        time_ns=entry.time_ns,
        metadata=dict(item.spec.metadata),
        made_from=item.spec.made_from,
        mode=item.spec.mode,
    )
