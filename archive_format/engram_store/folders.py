"""The folders of a version: those of the version before, with what a session says of its own in their place."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping

from engram_format.catalog import Folder
from engram_format.errors import FormatError, InvalidInput
from engram_format.folders import MAX_FOLDERS, FolderPage, folders_above, page_folders
from engram_format.history import Commit
from engram_format.location import Location, LocationPage
from engram_store.frames import FrameReader


def read_folders(frames: FrameReader, commit: Commit) -> Iterator[Folder]:
    """Yield what is known of the folders of a version, by path; the version's own folder has the empty path."""
    last = None
    for data in frames.stream(commit.folders or ()):
        page = FolderPage.from_bytes(bytes(data))
        if not page.folders or (last is not None and page.folders[0].path <= last):
            raise FormatError(
                f"the folders of {commit.memory}@{commit.number} are damaged: their pages do not follow one another"
            )
        last = page.folders[-1].path
        yield from page.folders


def write_folders(
    add: Callable[[bytes], Location],
    frames: FrameReader,
    newest: Commit | None,
    given: Mapping[str, Folder],
    artifacts: Container[str],
) -> LocationPage | None:
    """Write the folders of the version that follows `newest`, with those `given`, by path; return where they lie.

    A folder that was known and in whose place an artifact now lies is forgotten; raises `InvalidInput` where one that is
    given lies at or below one of the `artifacts`. What has not changed stays where it is.
    """
    for path in given:
        for place in (path, *folders_above(path)):
            if place in artifacts:
                raise InvalidInput(f"a folder cannot lie at {path!r}: {place!r} is an artifact; choose another path")
    before = {} if newest is None else {folder.path: folder for folder in read_folders(frames, newest)}
    kept = {
        path: folder
        for path, folder in before.items()
        if not any(place in artifacts for place in (path, *folders_above(path)))
    }
    folders = kept | dict(given)
    if newest is not None and folders == before:
        return newest.folders
    if len(folders) > MAX_FOLDERS:
        raise InvalidInput(f"a version has at most {MAX_FOLDERS} folders, not {len(folders)}: use several memories")
    pages = page_folders(folders[path] for path in sorted(folders))
    return LocationPage.of([add(page.to_bytes()) for page in pages]) if folders else None
