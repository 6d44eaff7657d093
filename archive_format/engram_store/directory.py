"""Objects as files of a folder, one file each, on a file system that has hard links.

A new object is written to a file of its own under `.tmp/`, flushed to disk, and given its name with `link()`, which has exactly
one winner and never replaces anything; then the folder is flushed. A writer that dies leaves at most a file under `.tmp/`,
which is no object: it may be removed whenever no writer runs. No symbolic link below the root is ever followed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engram_format.errors import AlreadyExists, Damaged, InvalidInput, NotFound
from engram_store.backend import Buffer, ObjectStat, Span
from engram_store.file_errors import error_for, error_for_link
from engram_store.object_key import checked_key, checked_prefix, ends_before, is_part, key_is_taken, no_such_object

_TEMPORARY = ".tmp"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking, so that a pipe somebody left under an object's name cannot hang the reader.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o444
_FOLDER_MODE = 0o700
_MAX_REMEMBERED_FOLDERS = 8192


class DirectoryBackend:
    """A `Backend` in the folder `root`.

    The folder, and those above it, are created by the first `put_if_absent`; until then everything else raises `NotFound`. From
    its first use on, the folder is held open: should another disk be mounted over it or the folder be renamed, the same
    backend goes on in the same folder.
    """

    def __init__(self, root: Path | str, *, temporary_name: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._root = Path(root).absolute()
        self._temporary_name = temporary_name
        self._root_fd: int | None = None
        self._durable: set[str] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the object, or the bytes of `span`, which is all that is read from the disk."""
        with self._errors("read", key), self._open_object(key) as (fd, size):
            if span is None:
                return self._read(fd, key, Span(0, size)) if size else b""
            if span.stop > size:
                raise ends_before(self.url, key, span=span, size=size)
            return self._read(fd, key, span)

    def put_if_absent(self, key: str, value: Buffer) -> None:
        """Create the object, on disk when this returns, from `value` without copying it.

        Raises `Precondition` on a file system without hard links and `InvalidInput` for a key that lies below an object or above
        one, which a folder cannot hold.
        """
        folders, name = _split(checked_key(key))
        with self._errors("write", key), self._make_folder(folders, key) as folder:
            if self._is_taken(folder, name, key):
                raise self._taken(folder, key)
            with self._temporary_file(value) as (temporary_folder, temporary, fd):
                try:
                    os.link(temporary, name, src_dir_fd=temporary_folder, dst_dir_fd=folder, follow_symlinks=False)
                except FileExistsError as error:
                    if not _has_second_name(fd):
                        self._is_taken(folder, name, key)
                        raise self._taken(folder, key) from error
                except OSError as error:
                    if not _has_second_name(fd):
                        raise error_for_link(error, self.url) from error
                os.fsync(folder)

    def stat(self, key: str) -> ObjectStat:
        """Return the size of the object's file."""
        with self._errors("read", key), self._open_object(key) as (_, size):
            return ObjectStat(key, size)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectStat]:
        """Yield the objects in order of key, one folder's names at a time in memory.

        What is no object is left out: temporary files, symbolic links, and names that no key may have.
        """
        checked_prefix(prefix)
        with self._errors("list", prefix):
            self._open_root()
        return self._walk(prefix, start_after)

    def delete(self, key: str) -> None:
        """Remove the object's file; when this returns, it is gone from the disk."""
        folders, name = _split(checked_key(key))
        with self._errors("delete", key):
            try:
                with self._open_folder(folders, key) as folder:
                    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                        os.unlink(name, dir_fd=folder)
                    # Also when nothing was there: an earlier removal may not have reached the disk.
                    os.fsync(folder)
            except (FileNotFoundError, NotADirectoryError):
                return

    @contextlib.contextmanager
    def _errors(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise error_for(error, f"{doing} {key!r} in {self.url}" if key else f"{doing} {self.url}") from error

    def _open_root(self, *, create: bool = False) -> int:
        with self._lock:
            if self._root_fd is None:
                if create:
                    _make_durably(self._root)
                try:
                    # The root itself may be a symbolic link: the user named it.
                    fd = os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)
                except FileNotFoundError as error:
                    raise NotFound(
                        f"the folder {self.url} does not exist; create an archive there or check the path"
                    ) from error
                except NotADirectoryError as error:
                    raise InvalidInput(f"{self.url} is not a folder; name the folder that holds the archive") from error
                self._root_fd = fd
                weakref.finalize(self, os.close, fd)
            return self._root_fd

    def _reopen_root(self, *, create: bool = False) -> int:
        # Opened anew rather than duplicated, because duplicates share the position at which a folder is being listed.
        return os.open(".", _FOLDER, dir_fd=self._open_root(create=create))

    @contextlib.contextmanager
    def _open_folder(self, folders: Sequence[str], key: str) -> Iterator[int]:
        """Open the folder of an object, going down from the root without following any link."""
        fd = self._reopen_root()
        try:
            for part in folders:
                fd = self._step(fd, part, key)
            yield fd
        finally:
            os.close(fd)

    def _step(self, fd: int, part: str, key: str) -> int:
        """Open `part` of the folder `fd`, and close `fd` if that worked."""
        try:
            below = os.open(part, _FOLDER, dir_fd=fd)
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode):
                raise self._is_link(key) from None
            raise
        os.close(fd)
        return below

    @contextlib.contextmanager
    def _make_folder(self, folders: Sequence[str], key: str) -> Iterator[int]:
        """Open the folder of a new object; it and those above it are on disk when this yields."""
        fd = self._reopen_root(create=True)
        path = ""
        try:
            for part in folders:
                path = f"{path}{part}/"
                # Not only after a mkdir of ours: whoever made the folder may not have flushed the one above it yet.
                if path not in self._durable:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, _FOLDER_MODE, dir_fd=fd)
                    os.fsync(fd)
                    self._remember(path)
                try:
                    fd = self._step(fd, part, key)
                except NotADirectoryError as error:
                    raise InvalidInput(
                        f"{self.url} cannot hold {key!r} because {path[:-1]!r} is an object already; choose another name"
                    ) from error
            yield fd
        finally:
            os.close(fd)

    def _remember(self, path: str) -> None:
        with self._lock:
            if len(self._durable) >= _MAX_REMEMBERED_FOLDERS:
                self._durable.clear()
            self._durable.add(path)

    @contextlib.contextmanager
    def _temporary_file(self, value: Buffer) -> Iterator[tuple[int, str, int]]:
        """Write `value` to a file of its own, on disk when this yields; the name it has here is removed after."""
        root = self._open_root()
        with contextlib.suppress(FileExistsError):
            os.mkdir(_TEMPORARY, _FOLDER_MODE, dir_fd=root)
        folder = os.open(_TEMPORARY, _FOLDER, dir_fd=root)
        try:
            name = self._temporary_name()
            fd = os.open(name, _CREATE, _FILE_MODE, dir_fd=folder)
            try:
                _write(fd, value)
                os.fsync(fd)
                yield folder, name, fd
            finally:
                os.close(fd)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def _is_taken(self, folder: int, name: str, key: str) -> bool:
        """Tell whether an object has the name; raises for anything else that has it."""
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            raise InvalidInput(
                f"{self.url} cannot hold {key!r} because other objects lie below that name; choose another name"
            )
        return True

    def _taken(self, folder: int, key: str) -> AlreadyExists:
        # The winner may not have flushed the folder yet, and the caller is about to build on what is there.
        os.fsync(folder)
        return key_is_taken(self.url, key)

    @contextlib.contextmanager
    def _open_object(self, key: str) -> Iterator[tuple[int, int]]:
        """Open an object's file for reading, with its size in bytes."""
        folders, name = _split(checked_key(key))
        try:
            with self._open_folder(folders, key) as folder:
                fd = self._open_file(name, folder, key)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise no_such_object(self.url, key) from error
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise no_such_object(self.url, key)
            if not stat.S_ISREG(status.st_mode):
                raise Damaged(f"{key!r} in {self.url} is not a file, so it is no object; remove it or restore the file")
            yield fd, status.st_size
        finally:
            os.close(fd)

    def _open_file(self, name: str, folder: int, key: str) -> int:
        try:
            return os.open(name, _READ, dir_fd=folder)
        except OSError:
            # Asked only after a failure, and without trusting the number: systems differ in what they answer for a link.
            if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise self._is_link(key) from None
            raise

    def _is_link(self, key: str) -> Damaged:
        return Damaged(
            f"{key!r} in {self.url} is reached through a symbolic link, which is not followed; put the file itself there"
        )

    def _read(self, fd: int, key: str, span: Span) -> bytes:
        first = os.pread(fd, span.length, span.start)
        if len(first) == span.length:
            return first
        pieces, done = [first], len(first)
        while done < span.length:
            piece = os.pread(fd, span.length - done, span.start + done)
            if not piece:
                raise ends_before(self.url, key, span=span, size=span.start + done)
            pieces.append(piece)
            done += len(piece)
        return b"".join(pieces)

    def _walk(self, prefix: str, start_after: str) -> Iterator[ObjectStat]:
        folders, _ = _split(prefix)
        with self._errors("list", prefix), contextlib.ExitStack() as opened:
            try:
                folder = opened.enter_context(self._open_folder(folders, prefix))
            except (FileNotFoundError, NotADirectoryError):
                return
            yield from self._walk_folder(folder, "".join(f"{part}/" for part in folders), prefix, start_after)

    def _walk_folder(self, folder: int, path: str, prefix: str, start_after: str) -> Iterator[ObjectStat]:
        """Yield the objects in `folder`, whose keys begin with `path`, and in the folders below it."""
        for name in _names_in(folder, path, prefix, start_after):
            # Both kinds of entry may be gone by now, or be another thing.
            if name.endswith("/"):
                try:
                    below = os.open(name[:-1], _FOLDER, dir_fd=folder)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                try:
                    yield from self._walk_folder(below, path + name, prefix, start_after)
                finally:
                    os.close(below)
            else:
                try:
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield ObjectStat(path + name, status.st_size)


def _split(key: str) -> tuple[list[str], str]:
    *folders, name = key.split("/")
    return folders, name


def _names_in(folder: int, path: str, prefix: str, start_after: str) -> list[str]:
    """Return the names in `folder` that can lead to wanted keys, in order of key.

    A folder's name ends with `/`, as it does in a key: that is what puts `a-b` before `a/b`.
    """
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_part(entry.name):
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            name = entry.name + "/" if is_folder else entry.name
            key = path + name
            if key.startswith(prefix) and (key > start_after or (is_folder and start_after.startswith(key))):
                names.append(name)
    return sorted(names)


def _has_second_name(fd: int) -> bool:
    # A network file system may lose its answer, try again and report a failure of what it did: the count of links is the truth.
    return os.fstat(fd).st_nlink > 1


def _write(fd: int, value: Buffer) -> None:
    with memoryview(value) as whole, whole.cast("B") as left:
        done = 0
        while done < len(left):
            done += os.write(fd, left[done:])


def _make_durably(folder: Path) -> None:
    """Create the folder and those above it that are missing; they are on disk when this returns."""
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        try:
            path.mkdir(_FOLDER_MODE)
        except FileExistsError:
            continue
        above = os.open(path.parent, _FOLDER & ~os.O_NOFOLLOW)
        try:
            os.fsync(above)
        finally:
            os.close(above)
