"""Reading a vault: versions, manifests, and any range of an artifact's bytes, with no global index (SPEC.md section 9).

log -> commit -> tree page -> manifest -> (page of locations) -> one ranged read for each run of frames
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from engram_format.errors import Damaged, InvalidInput, NotFound
from engram_format.history import Commit, History
from engram_format.ids import Digest
from engram_format.location import Location, LocationPage
from engram_format.manifest import Manifest, TreeEntry
from engram_format.series import MAX_DESCRIPTION_BYTES, Description
from engram_store.commit import read_tree
from engram_store.frames import FrameReader
from engram_store.vault import VaultStore


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact of a version: its entry and where its manifest lies."""

    commit: Commit
    entry: TreeEntry
    manifest_at: Location


class VaultReader:
    """Reads one vault. Thread-safe."""

    def __init__(self, store: VaultStore, *, workers: Executor) -> None:
        self.store = store
        self.frames = FrameReader(store, workers=workers)

    def history(self) -> History:
        """Return the history up to now."""
        return self.store.refresh()

    def entries(self, commit: Commit, *, below: str | None = None) -> Iterator[Found]:
        """Yield the artifacts of a version whose path is `below` or lies in that folder, in order of path."""
        for entry, location in read_tree(self.frames, commit):
            if below is None or entry.path == below or entry.path.startswith(f"{below}/"):
                yield Found(commit, entry, location)

    def find(self, commit: Commit, path: str) -> Found:
        """Return the artifact at a path; raises `NotFound` with the paths that look most alike."""
        paths = []
        for entry, location in read_tree(self.frames, commit):
            if entry.path == path:
                return Found(commit, entry, location)
            paths.append(entry.path)
        raise NotFound(
            f"{self.store.name}/{commit.memory}@{commit.number} has no artifact {path!r}{_alike(path, paths)}"
        )

    def find_content(self, sha256: Digest) -> Found | None:
        """Return the newest artifact with a digest, looking through all versions from the newest on."""
        for commits in self.history().commits.values():
            for commit in reversed(commits):
                for entry, location in read_tree(self.frames, commit):
                    if entry.sha256 == sha256:
                        return Found(commit, entry, location)
        return None

    def manifest(self, found: Found) -> Manifest:
        """Return the description of an artifact; it must agree with the version's tree."""
        manifest = Manifest.from_bytes(self.frames.read(found.manifest_at))
        if manifest.sha256 != found.entry.sha256 or manifest.size != found.entry.size:
            raise Damaged(f"the manifest of {found.entry.path!r} describes another artifact than the version's tree")
        return manifest

    def description(self, manifest: Manifest) -> Description | None:
        """Return what was found in an artifact when it was deposited; `None` where nothing was."""
        if manifest.description is None:
            return None
        if int(manifest.description.raw_size.sum(dtype=np.uint64)) > MAX_DESCRIPTION_BYTES:
            raise Damaged(f"the description of an artifact has more than {MAX_DESCRIPTION_BYTES} bytes")
        return Description.from_bytes(b"".join(self.frames.stream(manifest.description)))

    def read(self, manifest: Manifest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`; a whole read ends with an error if the SHA-256 is not the artifact's.

        Only the frames that the range touches are read.
        """
        end = manifest.size if stop is None else stop
        if not 0 <= start <= end <= manifest.size:
            raise InvalidInput(f"bytes {start} to {end} do not lie in an artifact of {manifest.size} bytes")
        whole = start == 0 and end == manifest.size
        digest = hashlib.sha256()
        skip, left = 0, end - start
        for number, original in enumerate(self.frames.stream(self._touched(manifest, start, end))):
            if number == 0:
                skip = start - self._frame_start(manifest, start)
            piece = original if skip == 0 and len(original) <= left else memoryview(original)[skip : skip + left]
            skip, left = 0, left - len(piece)
            if whole:
                digest.update(piece)
            yield bytes(piece)  # which copies nothing where it is bytes already
        if left:
            raise Damaged(f"the recipe of an artifact of {manifest.size} bytes ends {left} bytes early")
        if whole and digest.digest() != manifest.sha256.raw:
            raise Damaged(f"the bytes read do not have the SHA-256 {manifest.sha256} of the artifact")

    def locations(self, manifest: Manifest) -> Iterator[LocationPage]:
        """Yield the recipe of an artifact, page by page."""
        if manifest.inline is not None:
            yield manifest.inline
        for location in manifest.pages or ():
            yield LocationPage.from_bytes(self.frames.read(location))

    def _page_at(self, manifest: Manifest, offset: int) -> tuple[int, int]:
        """Return number and start of the page in which `offset` lies."""
        if manifest.inline is not None:
            return 0, 0
        number = int(np.searchsorted(np.array(manifest.page_starts), offset, side="right")) - 1
        return number, manifest.page_starts[number]

    def _page(self, manifest: Manifest, number: int) -> LocationPage:
        if manifest.pages is None:
            return manifest.inline or LocationPage.of(())
        return LocationPage.from_bytes(self.frames.read(manifest.pages[number]))

    def _frame_start(self, manifest: Manifest, offset: int) -> int:
        """Return where the frame that holds byte `offset` begins in the original."""
        number, page_start = self._page_at(manifest, offset)
        starts = self._page(manifest, number).starts()
        row = int(np.searchsorted(starts, offset - page_start, side="right")) - 1
        return page_start + int(starts[min(row, len(starts) - 2)])

    def _touched(self, manifest: Manifest, start: int, stop: int) -> Iterable[Location]:
        """Yield the frames that hold bytes from `start` up to `stop`."""
        if start == stop:
            return
        number, page_start = self._page_at(manifest, start)
        pages = 1 if manifest.pages is None else len(manifest.pages)
        while number < pages and page_start < stop:
            page = self._page(manifest, number)
            starts = page.starts()
            end = manifest.page_starts[number + 1] if number + 1 < pages else manifest.size
            if page_start + int(starts[-1]) != end:
                raise Damaged(f"page {number} of a recipe does not end where the manifest says")
            first = max(int(np.searchsorted(starts, max(start - page_start, 0), side="right")) - 1, 0)
            last = int(np.searchsorted(starts, stop - page_start, side="left"))
            for row in range(first, min(last, len(page))):
                yield page[row]
            page_start += int(starts[-1])
            number += 1


def _alike(wanted: str, known: list[str]) -> str:
    """Return the nearest known names as part of a sentence."""
    # Comparing costs the product of the lengths: no more than a person would look through is compared.
    likely = [path for path in known if len(path) <= 256][:2000] if len(wanted) <= 256 else []
    near = difflib.get_close_matches(wanted, likely, n=3, cutoff=0.5)
    return f": did you mean {', '.join(map(repr, near))}?" if near else ""
