"""Many artifacts restored below one folder: each file whole and checked, no symbolic link ever followed.

Files are written under names of their own, private to their owner, and take their names in batches: all files of a batch are
on the disk before the first of them has its name, so that a cut leaves whole files or none, at the cost of few flushes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from engram_client.archive import Archive
from engram_client.local import local_errors
from engram_client.transfer import Advance, Progress, restore_attributes
from engram_format.address import Address
from engram_format.catalog import Artifact, Folder
from engram_format.errors import AlreadyExists, Damaged, InvalidInput, NotFound

_BATCH_FILES: Final = 256
_BATCH_BYTES: Final = 64 * 2**20
_FLUSHES_AT_ONCE: Final = 16
"""A journaling file system settles flushes that come together in one go."""
_FOLDER_PERMISSIONS: Final = 0o3777
"""The bit that makes files in a folder belong to its group, and that keeps them from others' hands, give nobody a right."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def restore_folder(
    archive: Archive,
    address: Address,
    dest: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    restored: Callable[[Path], None] | None = None,
    lost: Callable[[str], None] | None = None,
) -> int:
    """Write all artifacts at an address or below it under their paths in the folder `dest`, and return how many.

    Each has the original's time of change and its permissions, without the bits that change who runs it. So have the folders
    of which these are known, `dest` itself only if it was not there; those that hold nothing are made. `restored` is told
    each file when it is there, `lost` a sentence for each artifact that cannot be read, which does not keep the others back.
    Raises `Damaged` at the end if there was one, `AlreadyExists` at the first name that is taken, unless `force`, and
    `InvalidInput` where a symbolic link lies in the way.
    """
    pinned, count, total = _measured(archive, address)
    known = list(archive.folders(pinned))
    if not count and not known:
        raise NotFound(f"there is nothing in {address}: see 'engram log {address.of(None).at(None)}'")
    done, missing = 0, 0
    with _Destination(dest, force=force, restored=restored or _say_nothing) as folder:
        for artifact, pieces in archive.read_all(pinned):
            try:
                folder.write(artifact.address.path or "", artifact, _checked(artifact, pieces))
            except Damaged as error:
                missing += 1
                (lost or _say_nothing)(f"{artifact.address}: {error}")
            done += artifact.size
            if progress:
                progress(Advance(str(artifact.address), done, total))
        folder.finish(known)
    if missing:
        raise Damaged(f"{missing} of {count} artifacts could not be restored; the others were")
    return count


def _measured(archive: Archive, address: Address) -> tuple[Address, int, int]:
    """Return the address with its version's number, and how many artifacts and bytes there are."""
    pinned, count, total = address, 0, 0
    for artifact in archive.artifacts(address):
        pinned, count, total = address.at(artifact.address.version), count + 1, total + artifact.size
    if not count:
        pinned = address.at(archive.version(address.of(None)).address.version)
    return pinned, count, total


def _checked(artifact: Artifact, pieces: Iterator[bytes]) -> Iterator[bytes]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        yield piece
    if size != artifact.size or digest.hexdigest() != artifact.sha256:
        raise Damaged(
            f"it came back with {size} of {artifact.size} bytes and SHA-256 {digest.hexdigest()}, which is not what was "
            "deposited: run 'engram verify'"
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """A file that is written and has not its name yet."""

    folder: str
    """Path below the destination, empty for the destination itself."""
    part: str
    name: str
    handle: int


class _Destination:
    """The folder below which files are written; made if it is not there. It may itself be a symbolic link: the user named it."""

    def __init__(self, top: Path, *, force: bool, restored: Callable[[Path], None]) -> None:
        self._top, self._force, self._restored = top, force, restored
        self._parts: list[_Part] = []
        self._bytes = 0
        self._flushers = ThreadPoolExecutor(max_workers=_FLUSHES_AT_ONCE, thread_name_prefix="engram-flush")
        with local_errors(top, "made"):
            self._made = not top.exists()
            top.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(top, _FOLDER & ~os.O_NOFOLLOW)
        self._folder, self._folder_handle = "", os.dup(self._handle)

    def write(self, path: str, artifact: Artifact, pieces: Iterable[bytes]) -> None:
        """Write one file; it has its name when its batch is full, or at the end."""
        folder, _, name = path.rpartition("/")
        handle = self._open(folder)
        full = self._top / path
        with local_errors(full, "written"):
            _check_free(handle, name, full, force=self._force)
            part = _Part(folder, f".engram-{secrets.token_hex(8)}.part", name, -1)
            file = os.open(part.part, _CREATE, 0o600, dir_fd=handle)
            try:
                size = _write(file, pieces)
                restore_attributes(file, artifact)
            except BaseException:
                os.close(file)
                os.unlink(part.part, dir_fd=handle)
                raise
        self._parts.append(_Part(folder, part.part, name, file))
        self._bytes += size
        if len(self._parts) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self._settle()

    def finish(self, folders: Sequence[Folder]) -> None:
        """Give all files their names, and then the folders the times and permissions of their originals, as far as known.

        A folder comes after those in it: making them changes its time, and its permissions may forbid it. The destination
        itself is its owner's matter if it was there before.
        """
        self._settle()
        for folder in sorted(folders, key=lambda folder: folder.path, reverse=True):
            if folder.path or self._made:
                with local_errors(self._top / folder.path, "changed"):
                    _restore_folder_attributes(self._open(folder.path), folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # What was written whole stays, also where something later went wrong.
            self._settle()
        finally:
            self._flushers.shutdown()
            os.close(self._folder_handle)
            os.close(self._handle)

    def _settle(self) -> None:
        """Flush the batch to the disk, give its files their names, and flush their folders."""
        parts, self._parts, self._bytes = self._parts, [], 0
        named = 0
        try:
            flushes = [self._flushers.submit(os.fsync, part.handle) for part in parts]
            wait(flushes)  # all of them, before any handle may be closed
            for part, flush in zip(parts, flushes, strict=True):
                with local_errors(self._path(part), "written"):
                    flush.result()
            for part in parts:
                with local_errors(self._path(part), "written"):
                    _take_name(self._open(part.folder), part, self._path(part), force=self._force)
                named += 1
        finally:
            for part in parts:
                os.close(part.handle)
            for part in parts[named:]:
                with suppress(OSError):
                    os.unlink(part.part, dir_fd=self._open(part.folder))
        for folder in dict.fromkeys(part.folder for part in parts):
            with suppress(OSError):  # some file systems cannot flush a folder; the files themselves are safe
                os.fsync(self._open(folder))
        for part in parts:
            self._restored(self._path(part))

    def _path(self, part: _Part) -> Path:
        return self._top / part.folder / part.name

    def _open(self, folder: str) -> int:
        """Return a handle on a folder below the destination, made if need be; it is good until the next call."""
        if folder != self._folder:
            handle = os.dup(self._handle)
            try:
                path = self._top
                for name in filter(None, folder.split("/")):
                    path = path / name
                    with local_errors(path, "made"), _no_link(path):
                        below = _enter(handle, name)
                    os.close(handle)
                    handle = below
            except BaseException:
                os.close(handle)
                raise
            os.close(self._folder_handle)
            self._folder, self._folder_handle = folder, handle
        return self._folder_handle


def _restore_folder_attributes(handle: int, folder: Folder) -> None:
    if folder.mode:
        os.fchmod(handle, folder.mode & _FOLDER_PERMISSIONS)
    if folder.time_ns:
        os.utime(handle, ns=(folder.time_ns, folder.time_ns))


def _enter(handle: int, name: str) -> int:
    """Open the folder `name` in another one, and make it if it is not there."""
    try:
        return os.open(name, _FOLDER, dir_fd=handle)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=handle)
        return os.open(name, _FOLDER, dir_fd=handle)


@contextmanager
def _no_link(path: Path) -> Iterator[None]:
    """Say of what lies in the place of a folder that nothing is written through it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise InvalidInput(
            f"{path} is in the way: a folder goes there, and no symbolic link is followed; move it away or name another place"
        ) from error


def _check_free(handle: int, name: str, path: Path, *, force: bool) -> None:
    """Raise unless a file may be written under a name; `force` allows replacing a regular file, and nothing else."""
    try:
        mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{path} exists and is no regular file, so it is never replaced: choose another place")
    if not force:
        raise AlreadyExists(f"{path} exists: choose another place, or give --force to replace it")


def _write(file: int, pieces: Iterable[bytes]) -> int:
    """Write all pieces to a file, and return how many bytes that were."""
    size = 0
    for piece in pieces:
        view = memoryview(piece)
        while view:
            written = os.write(file, view)
            size += written
            view = view[written:]
    return size


def _take_name(handle: int, part: _Part, path: Path, *, force: bool) -> None:
    if not force:
        try:
            # A rename replaces silently what appeared meanwhile; a link does not.
            os.link(part.part, part.name, src_dir_fd=handle, dst_dir_fd=handle, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _check_free(handle, part.name, path, force=False)
        else:
            os.unlink(part.part, dir_fd=handle)
            return
    os.replace(part.part, part.name, src_dir_fd=handle, dst_dir_fd=handle)


def _say_nothing(_: object) -> None:
    pass
