"""What this machine remembers of deposits that were cut, so that the same command goes on with the same session."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import platformdirs

from engram_client.local import local_errors, written_whole
from engram_format.address import Address
from engram_format.catalog import Folder, Kind, Scalar

_SESSION = re.compile(r"[0-9a-f]{32}")


def new_session() -> str:
    """Draw the id of a deposit session, 32 hex digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Journal:
    """One small file for each deposit that has begun and not been committed."""

    folder: Path
    draw: Callable[[], str] = new_session

    @classmethod
    def of_user(cls) -> Self:
        """Return the journal in the user's state folder."""
        return cls(platformdirs.user_state_path("engram") / "deposits")

    def session(self, key: str) -> str:
        """Return the session that deposit `key` began, or begin one."""
        entry = self.folder / key
        with local_errors(entry, "read"):
            known = entry.read_text("ascii", "replace").strip() if entry.exists() else ""
        if _SESSION.fullmatch(known):
            return known
        session = self.draw()
        with local_errors(self.folder, "written"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(entry, force=True) as file:
            file.write(f"{session}\n".encode("ascii"))
        return session

    def forget(self, key: str) -> None:
        """Remove what is remembered of deposit `key`; nothing happens if there is none."""
        entry = self.folder / key
        with local_errors(entry, "removed"):
            entry.unlink(missing_ok=True)


def deposit_key(
    url: str,
    memory: Address,
    files: Sequence[tuple[str, str, int, int]],
    *,
    folders: Sequence[Folder] = (),
    kind: Kind | None,
    metadata: Mapping[str, Scalar],
    made_from: Sequence[str] = (),
) -> str:
    """Return the name under which a deposit is remembered: the same command over unchanged files and folders has the same.

    `files` holds absolute path, artifact path, size and time of change of each file.
    """
    told = [
        url,
        str(memory),
        [list(file) for file in files],
        kind and str(kind),
        sorted(metadata.items()),
        list(made_from),
        [[folder.path, folder.time_ns, folder.mode] for folder in folders],
    ]
    return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()
