"""Making and opening archives by URL, with an identity."""

from __future__ import annotations

from engram_format.identity import Identity
from engram_server.engine.archive import Archive
from engram_store.location import keystore_location, open_location
from engram_store.repository import Repository


def create_archive(url: str, *, keystore: str | None = None, identity: Identity) -> None:
    """Make an archive at `url` (a directory or `s3://bucket/prefix`), sealed to an identity.

    The keystore lies beside it unless named. Packs carry parity in a directory, where nobody else keeps copies; on S3 they do not.
    """
    parity = not url.startswith("s3://")
    Repository.create(open_location(url), open_location(keystore or keystore_location(url)), identity, parity=parity)


def open_archive(url: str, *, keystore: str | None = None, identity: Identity) -> Archive:
    """Open the archive at `url`; raises `NotFound` where there is none and `Denied` where it is sealed to others."""
    return Archive(open_repository(url, keystore=keystore, identity=identity))


def open_repository(url: str, *, keystore: str | None = None, identity: Identity) -> Repository:
    """Open what an `Archive` stands on, for whoever gives it more than the engine does."""
    backend = open_location(url)
    return Repository.open(backend, open_location(keystore or keystore_location(url)), identity)
