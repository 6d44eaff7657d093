"""What a deposit of files and folders consists of: which file goes where, and what is known of the folders."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engram_client.local import local_errors
from engram_format.address import Address, check_path
from engram_format.catalog import Folder
from engram_format.errors import InvalidInput

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """One file to deposit, as it was when the deposit was planned; it must still be that when it has been read."""

    path: Path
    artifact: str
    """Where it goes in the version."""
    size: int
    time_ns: int
    inode: tuple[int, int]
    """Device and inode, which change when another file takes the name."""
    mode: int
    """Permission bits."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All that one deposit consists of, in the order of sending."""

    files: tuple[Source, ...]
    folders: tuple[Folder, ...]
    """By path, as they were when the deposit was planned."""


def plan_sources(files: Sequence[Path], *, to: Address, warn: Warn) -> Sources:
    """Return what a deposit of `files` consists of.

    A file goes to the path of `to`, or under its own name; what lies below a folder goes under its path relative to that
    folder. With several files, or a folder, the path of `to` is the folder in the version that they go under. Symbolic links
    and special files below a folder are left out, each with a warning; a link that is itself named is followed. A folder
    that alone is named is known as the folder that its files go under; where two become one, the last is known.
    """
    sources: list[Source] = []
    folders: dict[str, Folder] = {}
    for file in files:
        path = file.absolute()
        with local_errors(path, "read"):
            status = path.stat()
        if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path} is neither a file nor a folder: only these can be deposited")
        alone = len(files) == 1
        for found, seen in _walk(path, status, warn=warn):
            mode = stat.S_IMODE(seen.st_mode)
            if stat.S_ISREG(seen.st_mode):
                name = path.name if found == path else found.relative_to(path).as_posix()
                artifact = _artifact_path(name, to=to, alone=alone and found == path)
                sources.append(
                    Source(found, artifact, seen.st_size, seen.st_mtime_ns, (seen.st_dev, seen.st_ino), mode)
                )
            elif found != path:
                place = _artifact_path(found.relative_to(path).as_posix(), to=to, alone=False)
                folders[place] = Folder(place, seen.st_mtime_ns, mode)
            elif alone:
                place = to.path or ""
                folders[place] = Folder(place, seen.st_mtime_ns, mode)
    if not sources:
        raise InvalidInput(
            f"there is nothing to deposit: {', '.join(map(str, files)) or 'no name'} holds no regular file"
        )
    _check_distinct(sources)
    return Sources(tuple(sources), tuple(folders[place] for place in sorted(folders)))


def _walk(top: Path, top_status: os.stat_result, *, warn: Warn) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield a file, or a folder and the regular files and folders below it, by name, however deep they lie."""
    waiting = [(top, top_status)]
    while waiting:
        entry, status = waiting.pop()
        if stat.S_ISDIR(status.st_mode):
            with local_errors(entry, "read"):
                below = sorted(entry.iterdir(), reverse=True)
            yield entry, status
            waiting.extend((path, _status_by_link(path)) for path in below)
        elif stat.S_ISREG(status.st_mode):
            yield entry, status
        else:
            what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file"
            warn(f"{entry} is left out: it is {what}")


def _status_by_link(path: Path) -> os.stat_result:
    with local_errors(path, "read"):
        return path.lstat()


def _artifact_path(name: str, *, to: Address, alone: bool) -> str:
    # Some file systems return names decomposed (NFD); addresses are composed, so that the same name is found again.
    composed = unicodedata.normalize("NFC", name)
    if to.path is None:
        return check_path(composed)
    return to.path if alone else check_path(f"{to.path}/{composed}")


def _check_distinct(sources: Sequence[Source]) -> None:
    taken: dict[str, Path] = {}
    for source in sources:
        other = taken.setdefault(source.artifact, source.path)
        if other is not source.path:
            raise InvalidInput(
                f"{other} and {source.path} would both become {source.artifact!r}: deposit them one by one with "
                "--to vault/memory:path"
            )
