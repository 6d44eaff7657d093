"""Archives in memory, opened as often as a test likes, as by several processes over one storage."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engram_format.address import Address
from engram_format.catalog import ArtifactSpec, Version
from engram_format.identity import Identity
from engram_server.engine import Archive
from engram_store.backend import Backend
from engram_store.memory import MemoryBackend
from engram_store.repository import Repository

MEMORY = Address("vault", "memory")


@dataclass
class Place:
    """A storage with an archive in it, and the identity that opens it."""

    backend: Backend = field(default_factory=MemoryBackend)
    keystore: Backend = field(default_factory=MemoryBackend)
    identity: Identity = field(default_factory=lambda: Identity.from_entropy(b"a test identity, 32 bytes long.."))
    parity: bool = True

    def create(self) -> Place:
        Repository.create(self.backend, self.keystore, self.identity, parity=self.parity)
        with self.open() as archive:
            archive.create_vault(MEMORY.vault)
        return self

    def open(self, *, identity: Identity | None = None, through: Callable[[Backend], Backend] | None = None) -> Archive:
        backend = through(self.backend) if through else self.backend
        return Archive(Repository.open(backend, self.keystore, identity or self.identity))


def pseudo_random(size: int, *, seed: int = 0) -> bytes:
    """Bytes that do not compress and are the same in every run."""
    return random.Random(seed).randbytes(size)


def deposit(
    archive: Archive,
    files: Mapping[str, bytes],
    *,
    to: Address = MEMORY,
    session: str | None = None,
    message: str = "",
    piece: int = 1 << 20,
) -> Version:
    """Deposit several artifacts as one version."""
    with archive.open_deposit(to, session=session or secrets.token_hex(16)) as session_:
        for path, data in files.items():
            send(session_, path, data, piece=piece)
        return session_.commit(message=message, author="a test")


def send(session, path: str, data: bytes, *, piece: int = 1 << 20, stop_at: int | None = None) -> int:
    """Send one artifact from where the session is; return the offset it began at. With `stop_at`, leave it there."""
    start = session.begin(ArtifactSpec(path=path, size=len(data)))
    for at in range(start, len(data) if stop_at is None else stop_at, piece):
        session.write(data[at : min(at + piece, len(data) if stop_at is None else stop_at)])
    if stop_at is None:
        session.end(sha256=hashlib.sha256(data).hexdigest())
    return start


def read(archive: Archive, address: str) -> bytes:
    return b"".join(archive.read(Address.parse(address)))
