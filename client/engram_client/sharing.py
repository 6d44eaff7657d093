"""How much of a version or an artifact was there before it: bytes whose frames the version before is kept in too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engram_format.errors import NotFound

if TYPE_CHECKING:
    from engram_client.archive import Archive
    from engram_format.address import Address


@dataclass(frozen=True, slots=True)
class Shared:
    """Bytes of originals."""

    shared: int
    """Those that the version before is kept in too."""
    total: int


def shared_with_version_before(archive: Archive, address: Address) -> Shared | None:
    """Compare a version, or an artifact in it, with the version before; `None` for the first version, and for a new artifact.

    `address` has its version's number. Costs the trees of both versions and the recipes of what has changed.
    """
    if address.version is None or address.version == 1:
        return None
    total = sum(artifact.size for artifact in archive.artifacts(address))
    try:
        changes = list(archive.diff(address.at(address.version - 1), address))
    except NotFound:
        return None  # the artifact was not there before
    new = sum(change.after.size - change.shared for change in changes if change.after is not None)
    return Shared(total - new, total)
