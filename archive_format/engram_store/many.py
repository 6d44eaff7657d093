"""Reading many artifacts one after the other: frames that lie side by side are fetched together, whosever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Final

from engram_format.errors import Damaged
from engram_format.location import Location
from engram_format.manifest import Manifest
from engram_store.reader import Found, VaultReader, parse_manifest

_TOGETHER: Final = 1024
"""Artifacts whose manifests are in memory at once."""

Frame = bytes | memoryview | Damaged


def read_many(
    reader: VaultReader, found: Iterable[Found], *, data: bool = True
) -> Iterator[tuple[Found, Manifest | None, Iterator[bytes]]]:
    """Yield artifacts with their manifests and their bytes, in the order given.

    The bytes of one end with `Damaged` where they cannot be read or do not have its SHA-256, as they do at once where its
    manifest, `None` then, cannot be read; the next artifact follows. Bytes that are not taken before the next artifact is
    asked for are skipped. Without `data` only the manifests are read, and there are no bytes.
    """
    for batch in _batches(found):
        manifests = read_manifests(reader, batch)
        frames = reader.frames.stream_each(_inline(manifests if data else ()))
        with closing(frames):
            for item, manifest in zip(batch, manifests, strict=True):
                if isinstance(manifest, Damaged):
                    yield item, None, _raising(manifest)
                elif not data:
                    yield item, manifest, iter(())
                elif manifest.inline is None:
                    yield item, manifest, reader.read(manifest)
                else:
                    taken = islice(frames, len(manifest.inline))
                    yield item, manifest, _checked(item, manifest, taken)
                    for _ in taken:
                        pass


def read_manifests(reader: VaultReader, found: Sequence[Found]) -> list[Manifest | Damaged]:
    """Return the manifests of artifacts, or for each that cannot be read the reason."""
    places = [item.manifest_at for item in found]
    # Fetched as they lie, which is the order of depositing and not always that of the paths.
    order = sorted(range(len(found)), key=lambda number: (places[number].pack.name, places[number].place.offset))
    read: dict[int, Manifest | Damaged] = {}
    for number, original in zip(order, reader.frames.stream_each(places[number] for number in order), strict=True):
        if isinstance(original, Damaged):
            read[number] = original
            continue
        try:
            read[number] = parse_manifest(found[number], original)
        except Damaged as error:
            read[number] = error
    return [read[number] for number in range(len(found))]


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Gather artifacts; where the tree that lists them is damaged, those listed before come first and the error then."""
    batch: list[Found] = []
    try:
        for item in found:
            batch.append(item)
            if len(batch) == _TOGETHER:
                yield batch
                batch = []
    except Damaged:
        yield batch
        raise
    yield batch


def _inline(manifests: Iterable[Manifest | Damaged]) -> Iterator[Location]:
    """Yield the frames of those recipes that stand in their manifests."""
    for manifest in manifests:
        if isinstance(manifest, Manifest) and manifest.inline is not None:
            yield from manifest.inline


def _checked(item: Found, manifest: Manifest, frames: Iterator[Frame]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for original in frames:
        if isinstance(original, Damaged):
            raise original
        digest.update(original)
        yield bytes(original)
    if digest.digest() != manifest.sha256.raw:
        raise Damaged(
            f"the bytes read of {item.entry.path!r} do not have the SHA-256 {manifest.sha256} of the artifact"
        )


def _raising(error: Damaged) -> Iterator[bytes]:
    yield from ()
    raise error
