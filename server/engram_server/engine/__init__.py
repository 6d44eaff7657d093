"""Every use case once, without transport."""

from engram_server.engine.archive import Archive
from engram_server.engine.opening import create_archive, open_archive, open_repository

__all__ = ["Archive", "create_archive", "open_archive", "open_repository"]
