"""The embedded door: the engine opened in this process, with no server to start. The only module of the client that imports it."""

from __future__ import annotations

from engram_client.archive import Archive
from engram_format.identity import Identity
from engram_server import engine


def create_archive(url: str, *, keystore: str | None = None, identity: Identity) -> None:
    """Make an archive in a directory or at `s3://bucket/prefix`, sealed to an identity; raises `AlreadyExists`.

    The wrapped keys go to `keystore`, by default beside the archive: its URL with `.keys` appended.
    """
    engine.create_archive(url, keystore=keystore, identity=identity)


def open_embedded(url: str, *, keystore: str | None = None, identity: Identity) -> Archive:
    """Open an archive in a directory or at `s3://bucket/prefix`; raises `NotFound` or `Denied`."""
    return engine.open_archive(url, keystore=keystore, identity=identity)
