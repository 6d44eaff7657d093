"""Folders of a version: their own times and permissions, and those that hold nothing (SPEC.md section 9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from engram_format.address import check_path
from engram_format.catalog import Folder
from engram_format.encoding import Encodable, Fields, Value, encode
from engram_format.errors import FormatError, InvalidInput
from engram_format.manifest import MAX_MODE

MAX_FOLDERS: Final = 1_000_000
"""Folders of one version."""

_PAGE_BYTES: Final = 2 * 2**20
_FOLDER_BYTES: Final = 20
"""An upper bound of what a folder takes beside its path."""


@dataclass(frozen=True, slots=True)
class FolderPage:
    """Folders of a version, sorted by path."""

    folders: tuple[Folder, ...]

    def to_bytes(self) -> bytes:
        """Encode."""
        rows: list[Encodable] = [[folder.path, folder.time_ns, folder.mode] for folder in self.folders]
        return encode({1: rows})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode and check that paths are allowed, sorted and unique."""
        what = "a page of folders"
        fields = Fields.of(data, what=what, known=range(1, 2))
        page = cls(tuple(_folder(item, what=what) for item in fields.array(1)))
        if any(first.path >= second.path for first, second in pairwise(page.folders)):
            raise FormatError(f"{what} is damaged: its paths are not sorted")
        return page


def check_folder(folder: Folder) -> Folder:
    """Return the folder if it may be stored; raises `InvalidInput`."""
    if folder.path:
        check_path(folder.path)
    if not 0 <= folder.mode <= MAX_MODE:
        raise InvalidInput(f"folder {folder.path!r} has permission bits that do not exist: {folder.mode:o}")
    if not -(2**63) <= folder.time_ns < 2**63:
        raise InvalidInput(f"folder {folder.path!r} has a time beyond 64 bits")
    return folder


def page_folders(folders: Iterable[Folder]) -> Iterator[FolderPage]:
    """Cut folders, sorted by path, into pages that fit one frame each."""
    page: list[Folder] = []
    room = _PAGE_BYTES
    for folder in folders:
        needed = len(folder.path.encode()) + _FOLDER_BYTES
        if page and needed > room:
            yield FolderPage(tuple(page))
            page, room = [], _PAGE_BYTES
        page.append(folder)
        room -= needed
    if page:
        yield FolderPage(tuple(page))


def folders_above(path: str) -> Iterator[str]:
    """Yield the paths of the folders that a path lies in, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _folder(item: Value, *, what: str) -> Folder:
    match item:
        case [str(path), int(time_ns), int(mode)] if type(time_ns) is int and type(mode) is int:
            try:
                return check_folder(Folder(path, time_ns, mode))
            except InvalidInput as error:
                raise FormatError(f"{what} is damaged: {error}") from error
        case _:
            raise FormatError(f"{what} is damaged: a folder is not a path, a time and permission bits")
