"""Engram, restic and borg as commands of their own, on a directory or on S3: make a repository, deposit a folder, restore it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from measuring import Measure, find_program, measured, program, size_of
from object_store import S3Server, objects

from engram_format import shards
from engram_format.errors import Damaged

RESTIC_REMEDY = "'apt-get install restic'"
BORG_REMEDY = (
    "'pip install borgbackup' (it is compiled: 'apt-get install gcc pkg-config python3-dev libssl-dev libacl1-dev "
    "liblz4-dev libzstd-dev libxxhash-dev' first), or 'apt-get install borgbackup'"
)
_PASSWORD = "a test"
_TAIL_BYTES = 32 * 1024


@dataclass(frozen=True)
class Stored:
    """Bytes of all files or objects of a repository."""

    total: int
    parity: int = 0
    """Of these, shards from which damage could be repaired."""

    @property
    def net(self) -> int:
        """Without the parity."""
        return self.total - self.parity


class Archiver(Protocol):
    """One tool with one repository that is made by `create`."""

    name: str

    def create(self) -> None:
        """Make the repository."""
        ...

    def deposit(self, source: Path) -> Measure:
        """Put in what is in a folder, as a new version."""
        ...

    def restore(self, source: Path, target: Path) -> tuple[Measure, Path]:
        """Restore the newest version below `target`; return also the folder that is to equal `source`."""
        ...

    def stored(self) -> Stored:
        """Add up the repository."""
        ...


class Engram:
    """`engram`; its archives have parity in a directory and none on S3."""

    name = "engram"

    def __init__(self, work: Path, server: S3Server | None = None) -> None:
        self._server = server
        self.url = server.location() if server else str(work / "archive")
        self.identity = work / "identity.txt"
        self.environment = os.environ | (server.environment if server else {})
        self.environment |= {
            "ENGRAM_ARCHIVE": self.url,
            "ENGRAM_IDENTITY": str(self.identity),
            "XDG_STATE_HOME": str(work / "state"),
            "XDG_CACHE_HOME": str(work / "cache"),
        }
        self._command = program("engram", remedy="'make test' installs it into .venv")

    def create(self) -> None:
        """Make an archive with one vault."""
        self.run("init")
        self.run("vault", "create", "bench")

    def deposit(self, source: Path) -> Measure:
        """Put a folder or a file into the memory `bench/set`."""
        return self.run("deposit", str(source), "--to", "bench/set")

    def restore(self, source: Path, target: Path) -> tuple[Measure, Path]:
        """Restore the memory."""
        return self.run("restore", "bench/set", f"{target}/"), target

    def stored(self) -> Stored:
        """Add up the archive and its keystore; the parity is read from the public footers of the packs."""
        if self._server:
            prefix = self.url.removeprefix(f"s3://{self._server.bucket}/")
            return Stored(sum(objects(self._server, prefix).values()))  # the keystore is beside: the prefix and `.keys`
        total = size_of(Path(self.url)) + size_of(Path(f"{self.url}.keys"))
        return Stored(total, sum(_parity(path) for path in Path(self.url).rglob("*") if path.is_file()))

    def run(self, *arguments: str) -> Measure:
        """Run one command of `engram`."""
        return measured([self._command, *arguments], environment=self.environment)


class Restic:
    """restic with its own choice of compression."""

    name = "restic"

    def __init__(self, work: Path, server: S3Server | None = None) -> None:
        self._server, self._directory = server, work / "repository"
        self._prefix = server.location().rpartition("/")[2] if server else ""
        place = f"s3:{server.endpoint_url}/{server.bucket}/{self._prefix}" if server else str(self._directory)
        self._environment = os.environ | (server.environment if server else {})
        self._environment |= {
            "RESTIC_REPOSITORY": place,
            "RESTIC_PASSWORD": _PASSWORD,
            "XDG_CACHE_HOME": str(work / "cache"),
        }
        self._command = program("restic", remedy=RESTIC_REMEDY)

    def create(self) -> None:
        """Make a repository."""
        self._run("init")

    def deposit(self, source: Path) -> Measure:
        """Back a folder or a file up."""
        return self._run("backup", str(source))

    def restore(self, source: Path, target: Path) -> tuple[Measure, Path]:
        """Restore the newest snapshot."""
        return self._run("restore", "latest", "--target", str(target)), target / source.relative_to("/")

    def stored(self) -> Stored:
        """Add up the repository."""
        if self._server:
            return Stored(sum(objects(self._server, f"{self._prefix}/").values()))
        return Stored(size_of(self._directory))

    def _run(self, *arguments: str) -> Measure:
        return measured([self._command, *arguments, "--quiet"], environment=self._environment)


class Borg:
    """borg with zstd at level 3, which stores less than its default; it knows no S3."""

    name = "borg"

    def __init__(self, work: Path) -> None:
        self._directory = work / "repository"
        self._environment = os.environ | {
            "BORG_REPO": str(self._directory),
            "BORG_PASSPHRASE": _PASSWORD,
            "BORG_BASE_DIR": str(work / "borg"),
        }
        self._command = program("borg", remedy=BORG_REMEDY)
        self._versions = 0

    def create(self) -> None:
        """Make an encrypted repository."""
        self._run("init", "--encryption", "repokey-blake2")

    def deposit(self, source: Path) -> Measure:
        """Back a folder or a file up."""
        self._versions += 1
        archive = f"::version-{self._versions}"
        return self._run("create", "--compression", "zstd,3", archive, source.name, folder=source.parent)

    def restore(self, source: Path, target: Path) -> tuple[Measure, Path]:
        """Extract the newest archive."""
        target.mkdir()
        return self._run("extract", f"::version-{self._versions}", folder=target), target / source.name

    def stored(self) -> Stored:
        """Add up the repository."""
        return Stored(size_of(self._directory))

    def _run(self, *arguments: str, folder: Path | None = None) -> Measure:
        return measured([self._command, *arguments], environment=self._environment, folder=folder)


def archivers(work: Path, server: S3Server | None = None) -> list[Archiver]:
    """Return the tools that can work there, each with a folder of its own below `work`; say so where borg is missing."""
    made: list[Archiver] = []
    for tool in ("engram", "restic", "borg"):
        folder = work / tool
        folder.mkdir(parents=True, exist_ok=True)
        if tool == "engram":
            made.append(Engram(folder, server))
        elif tool == "restic":
            made.append(Restic(folder, server))
        elif server is None and find_program("borg"):
            made.append(Borg(folder))
    return made


def _parity(path: Path) -> int:
    """Return the bytes of a pack's parity shards, and 0 for any other object."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
        try:
            footer = shards.Footer.find(memoryview(file.read()))
        except Damaged:
            return 0
    return footer.parity_shards * footer.shard_bytes
