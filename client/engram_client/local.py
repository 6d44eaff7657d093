"""This machine's files: their errors in our words, and writing one so that it is there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engram_format.errors import AlreadyExists, Denied, EngramError, Exhausted, InvalidInput, NotFound, Unavailable

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


@contextmanager
def local_errors(path: Path, doing: str) -> Iterator[None]:
    """Raise what the file system says of `path` as an `EngramError`; `doing` is the participle, as "read"."""
    try:
        yield
    except OSError as error:
        raise _translated(error, path, doing) from error


def _translated(error: OSError, path: Path, doing: str) -> EngramError:
    reason = error.strerror or str(error)
    if error.errno in _MISSING:
        return NotFound(f"{path} does not exist: check its name")
    if error.errno in _NO_ACCESS:
        return Denied(f"{path} cannot be {doing}: {reason}; change its permissions or name another place")
    if error.errno in _NO_ROOM:
        return Exhausted(f"{path} cannot be {doing}: {reason}; make room and run the same command again")
    if error.errno == errno.EEXIST:
        return AlreadyExists(f"{path} exists: choose another name, or give --force to replace it")
    if error.errno == errno.EISDIR:
        return InvalidInput(f"{path} is a folder: name a file")
    return Unavailable(f"{path} cannot be {doing}: {reason}; check the disk and run the same command again")


def check_destination(path: Path, *, force: bool) -> None:
    """Raise unless a file may be written at `path`; `force` allows replacing a regular file, and nothing else."""
    with local_errors(path, "written"):
        if not path.parent.is_dir():
            raise NotFound(f"{path.parent} is no folder: make it, or name another place")
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{path} exists and is no regular file, so it is never replaced: choose another name")
    if not force:
        raise AlreadyExists(f"{path} exists: choose another name, or give --force to replace it")


@contextmanager
def written_whole(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Yield a private file beside `path` that takes its name, durably, when the block ends well, and vanishes otherwise.

    The file is readable by its owner only: what is written here has just been decrypted. Raises `AlreadyExists` if the name
    is taken, also while the block ran, unless `force`; the operating system's errors inside the block are raised in our words.
    """
    check_destination(path, force=force)
    with local_errors(path, "written"):
        handle, name = tempfile.mkstemp(prefix=".engram-", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _take_name(part, path, force=force)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _take_name(part: Path, path: Path, *, force: bool) -> None:
    if not force:
        try:
            # A rename replaces silently what appeared meanwhile; a link does not.
            path.hardlink_to(part)
        except FileExistsError:
            raise
        except OSError:
            check_destination(path, force=False)  # a file system without hard links
        else:
            return
    part.replace(path)


def _sync_folder(folder: Path) -> None:
    # Some file systems cannot sync a folder; the file itself is already safe, so only its name could be lost.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
