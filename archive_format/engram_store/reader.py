"""Reading a vault: versions, manifests, and any range of an artifact's bytes, with no global index (SPEC.md section 9).

log -> commit -> tree page -> manifest -> (page of locations) -> one ranged read for each run of frames
"""

from __future__ import annotations

import difflib
import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from engram_format.catalog import Folder
from engram_format.catalogue import CataloguePage
from engram_format.errors import Damaged, InvalidInput, NotFound
from engram_format.history import Commit, History
from engram_format.ids import Digest
from engram_format.location import Location, LocationPage
from engram_format.manifest import Manifest, TreeEntry
from engram_format.series import Description
from engram_store.catalogue import catalogue_pages, read_description
from engram_store.folders import read_folders
from engram_store.frames import FrameReader
from engram_store.recipe import Recipe
from engram_store.tree import TreeReader
from engram_store.vault import VaultStore
from engram_store.workers import Workers


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact of a version: its entry and where its manifest lies."""

    commit: Commit
    entry: TreeEntry
    manifest_at: Location


class VaultReader:
    """Reads one vault. Thread-safe."""

    def __init__(self, store: VaultStore, *, workers: Workers) -> None:
        self.store = store
        self.frames = FrameReader(store, workers=workers)
        self._trees = TreeReader(self.frames)

    def history(self) -> History:
        """Return the history up to now."""
        return self.store.refresh()

    def commit(self, memory: str, number: int | None) -> Commit:
        """Return one version of a memory, or the newest with `None`; one whose number is known is not asked for again."""
        known = self.store.known.commits.get(memory, ())
        return known[number - 1] if number is not None and number <= len(known) else self.history().at(memory, number)

    def entries(self, commit: Commit, *, below: str | None = None, after: str = "") -> Iterator[Found]:
        """Yield the artifacts of a version whose path is `below` or lies in that folder, in order of path.

        Those up to the path `after` are left out, and cost nothing.
        """
        for entry, location in self._trees.entries(commit, start=max(below or "", after)):
            if below is not None and entry.path > f"{below}/" and not entry.path.startswith(f"{below}/"):
                return  # all that come now are no longer in the folder
            if entry.path > after and (below is None or entry.path == below or entry.path.startswith(f"{below}/")):
                yield Found(commit, entry, location)

    def folders(self, commit: Commit, *, below: str | None = None) -> Iterator[Folder]:
        """Yield what is known of the folders of a version, or of the folder `below` and those in it, by path."""
        for folder in read_folders(self.frames, commit):
            if below is None or folder.path == below or folder.path.startswith(f"{below}/"):
                yield folder

    def find(self, commit: Commit, path: str) -> Found:
        """Return the artifact at a path; raises `NotFound` with the paths that look most alike."""
        if (found := self._trees.find(commit, path)) is not None:
            return Found(commit, *found)
        paths = [entry.path for entry, _ in self._trees.entries(commit)]
        raise NotFound(
            f"{self.store.name}/{commit.memory}@{commit.number} has no artifact {path!r}{_alike(path, paths)}"
        )

    def find_content(self, sha256: Digest) -> Found | None:
        """Return the newest artifact with a digest, looking through all versions from the newest on."""
        for commits in self.history().commits.values():
            for commit in reversed(commits):
                for entry, location in self._trees.entries(commit):
                    if entry.sha256 == sha256:
                        return Found(commit, entry, location)
        return None

    def manifest(self, found: Found) -> Manifest:
        """Return the description of an artifact; it must agree with the version's tree."""
        return parse_manifest(found, self.frames.read(found.manifest_at))

    def description(self, manifest: Manifest) -> Description | None:
        """Return what was found in an artifact when it was deposited; `None` where nothing was."""
        return read_description(self.frames, manifest)

    def catalogue(self, commit: Commit) -> Iterator[CataloguePage]:
        """Yield what `find` searches of a version."""
        return catalogue_pages(self.frames, commit, lambda: self._trees.entries(commit))

    def read(
        self, manifest: Manifest, *, start: int = 0, stop: int | None = None, recipe: Recipe | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`; a whole read ends with an error if the SHA-256 is not the artifact's.

        Only the frames that the range touches are read. A `recipe` of the manifest saves finding its pages again.
        """
        end = manifest.size if stop is None else stop
        if not 0 <= start <= end <= manifest.size:
            raise InvalidInput(f"bytes {start} to {end} do not lie in an artifact of {manifest.size} bytes")
        whole = start == 0 and end == manifest.size
        digest = hashlib.sha256()
        skips: deque[int] = deque()  # how much of the first frame lies before the range

        def touched() -> Iterator[Location]:
            for piece in (recipe or Recipe(self.frames, manifest)).pieces(start, end):
                skips.append(max(start - piece.start, 0))
                yield piece.location

        left = end - start
        for original in self.frames.stream(touched()):
            skip = skips.popleft()
            piece = original if skip == 0 and len(original) <= left else memoryview(original)[skip : skip + left]
            left -= len(piece)
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


def parse_manifest(found: Found, data: bytes | memoryview) -> Manifest:
    """Return the description of an artifact out of its frame; raises `Damaged` unless it agrees with the version's tree."""
    manifest = Manifest.from_bytes(bytes(data))
    if manifest.sha256 != found.entry.sha256 or manifest.size != found.entry.size:
        raise Damaged(f"the manifest of {found.entry.path!r} describes another artifact than the version's tree")
    return manifest


def _alike(wanted: str, known: list[str]) -> str:
    """Return the nearest known names as part of a sentence."""
    # Comparing costs the product of the lengths: no more than a person would look through is compared.
    likely = [path for path in known if len(path) <= 256][:2000] if len(wanted) <= 256 else []
    near = difflib.get_close_matches(wanted, likely, n=3, cutoff=0.5)
    return f": did you mean {', '.join(map(repr, near))}?" if near else ""
