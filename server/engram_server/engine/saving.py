"""Keeping what a replay made: files from memory as one new version."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from engram_format.address import Address
from engram_format.catalog import Artifact, ArtifactSpec

if TYPE_CHECKING:
    from engram_server.engine.archive import Archive

_SESSION_BYTES: Final = 16


def save_files(
    archive: Archive, files: Sequence[tuple[ArtifactSpec, bytes]], save_to: Address, *, message: str, author: str
) -> list[Artifact]:
    """Deposit the files as one version of the memory of `save_to`; return them, in their order."""
    memory = save_to.of(None).at(None)
    with archive.open_deposit(memory, session=secrets.token_hex(_SESSION_BYTES)) as deposit:
        for spec, body in files:
            deposit.begin(spec)
            deposit.write(body)
            deposit.end(sha256=hashlib.sha256(body).hexdigest())
        version = deposit.commit(message=message, author=author)
    return [archive.artifact(version.address.of(spec.path)) for spec, _ in files]
