"""The catalogue of a version: carried on by each commit, and made again from manifests where it is not to be had."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from engram_format.catalogue import CataloguePage, CatalogueRow, cut_rows, facts_of, without_odd_numbers
from engram_format.errors import Damaged, FormatError, Precondition
from engram_format.history import Commit
from engram_format.location import Location, LocationPage
from engram_format.manifest import Manifest, TreeEntry
from engram_format.series import MAX_DESCRIPTION_BYTES, Description
from engram_store.frames import FrameReader

logger = logging.getLogger(__name__)

Entries = Iterable[tuple[TreeEntry, Location]]
"""A version's tree: entries by path, and where their manifests lie."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A page of a version's catalogue that is read when it is needed."""

    page: CataloguePage
    location: Location


def read_description(frames: FrameReader, manifest: Manifest) -> Description | None:
    """Return what was found in an artifact when it was deposited; `None` where nothing was."""
    if manifest.description is None:
        return None
    if int(manifest.description.raw_size.sum(dtype=np.uint64)) > MAX_DESCRIPTION_BYTES:
        raise Damaged(f"the description of an artifact has more than {MAX_DESCRIPTION_BYTES} bytes")
    rows = manifest.description
    data = frames.read(rows[0]) if len(rows) == 1 else b"".join(frames.stream(rows))
    return Description.from_bytes(data)


def row_of(entry: TreeEntry, manifest: Manifest, description: Description | None) -> CatalogueRow:
    """Return what `find` is to know of an artifact."""
    return without_odd_numbers(
        CatalogueRow(
            path=entry.path,
            kind=entry.kind,
            size=entry.size,
            sha256=entry.sha256,
            time_ns=entry.time_ns,
            stored_size=entry.stored_size,
            frames=entry.frames,
            mode=manifest.mode,
            made_from=manifest.made_from,
            metadata=manifest.metadata,
            facts=facts_of(description),
        )
    )


def catalogue_pages(frames: FrameReader, commit: Commit, entries: Callable[[], Entries]) -> Iterator[CataloguePage]:
    """Yield the catalogue of a version: as it was stored, or made from its manifests, which says the same."""
    try:
        pages = [leaf.page for leaf in _stored(frames, commit)]
    except (Damaged, Precondition) as error:
        logger.warning("the catalogue of %s@%d is made anew: %s", commit.memory, commit.number, error)
    else:
        yield from pages
        return
    yield from map(CataloguePage.of, cut_rows(list(_rows_of_manifests(frames, entries()))))


def write_catalogue(
    add: Callable[[bytes], Location],
    frames: FrameReader,
    newest: Commit | None,
    entries: Callable[[], Entries],
    changed: Mapping[str, CatalogueRow],
) -> LocationPage | None:
    """Write the catalogue of the version that follows `newest` with the rows in `changed`, by path; return where it lies.

    A page in whose range of paths nothing has changed stays where it is. Returns `None` where an artifact of the version
    before cannot be read: its successor then has no catalogue, which is no reason to lose a deposit.
    """
    waiting = [changed[path] for path in sorted(changed)]
    if newest is None:
        return LocationPage.of(_written(add, waiting))
    try:
        leaves = _stored(frames, newest)
    except (Damaged, Precondition) as error:
        logger.warning("the catalogue of %s@%d is made anew: %s", newest.memory, newest.number, error)
        try:
            rows = {row.path: row for row in _rows_of_manifests(frames, entries())} | dict(changed)
        except (Damaged, Precondition) as unreadable:
            logger.warning("the version after %s@%d has no catalogue: %s", newest.memory, newest.number, unreadable)
            return None
        return LocationPage.of(_written(add, [rows[path] for path in sorted(rows)]))
    located: list[Location] = []
    for number, leaf in enumerate(leaves):
        last = number == len(leaves) - 1
        end = None if last else leaves[number + 1].page.paths[0]
        mine = [row for row in waiting if end is None or row.path < end]
        waiting = waiting[len(mine) :]
        if not mine:
            located.append(leaf.location)
            continue
        rows = {row.path: row for row in leaf.page.rows()} | {row.path: row for row in mine}
        located += _written(add, [rows[path] for path in sorted(rows)])
    return LocationPage.of(located)


def _stored(frames: FrameReader, commit: Commit) -> list[_Leaf]:
    """Return the pages that a commit names; raises `FormatError` unless they hold each of its artifacts once."""
    what = f"the catalogue of {commit.memory}@{commit.number}"
    if commit.catalogue is None:
        raise FormatError(f"{what} is not stored")
    leaves: list[_Leaf] = []
    last = ""
    originals = frames.stream(commit.catalogue)
    for location, data in zip(commit.catalogue, originals, strict=True):
        page = CataloguePage.from_bytes(bytes(data))
        if not page.paths or page.paths[0] <= last:
            raise FormatError(f"{what} is damaged: its pages do not follow one another")
        last = page.paths[-1]
        leaves.append(_Leaf(page, location))
    if sum(len(leaf.page) for leaf in leaves) != commit.artifacts:
        raise FormatError(f"{what} is damaged: it does not hold each artifact once")
    return leaves


def _rows_of_manifests(frames: FrameReader, entries: Entries) -> Iterator[CatalogueRow]:
    known = list(entries)
    for (entry, _), data in zip(known, frames.stream(location for _, location in known), strict=True):
        manifest = Manifest.from_bytes(bytes(data))
        if manifest.sha256 != entry.sha256 or manifest.size != entry.size:
            raise Damaged(f"the manifest of {entry.path!r} describes another artifact than the version's tree")
        yield row_of(entry, manifest, read_description(frames, manifest))


def _written(add: Callable[[bytes], Location], rows: list[CatalogueRow]) -> list[Location]:
    return [add(CataloguePage.of(part).to_bytes()) for part in cut_rows(rows)]
