"""What differs between two versions, or two artifacts, and how many bytes both are kept in.

Both sides are read in order of path and side by side, so that memory does not grow with the versions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.catalog import Alteration, Scalar
from engram_format.errors import InvalidInput
from engram_format.history import Commit
from engram_format.location import LocationPage, PackRef
from engram_format.manifest import Manifest
from engram_format.series import SeriesInfo
from engram_store.reader import Found, VaultReader, parse_manifest

_MANIFESTS_TOGETHER: Final = 256
"""Pairs of artifacts whose manifests are fetched together."""
_FRAME_BITS: Final = 32
_MAX_SHOWN: Final = 200
"""Characters of a field of a series."""


@dataclass(frozen=True, slots=True)
class Side:
    """A version, or what lies at a path in it."""

    reader: VaultReader
    commit: Commit
    path: str | None

    def entries(self) -> Iterator[tuple[str, Found]]:
        """Yield what is compared, in order: by its path below this side's path, which is empty for that path itself.

        Raises `NotFound` with the nearest paths where nothing lies at the path.
        """
        start, empty = len(self.path or ""), True
        for item in self.reader.entries(self.commit, below=self.path):
            empty = False
            yield item.entry.path[start:], item
        if self.path is not None and empty:
            self.reader.find(self.commit, self.path)


@dataclass(frozen=True, slots=True)
class Held:
    """An artifact of one side, with its manifest."""

    reader: VaultReader
    found: Found
    manifest: Manifest

    @property
    def told(self) -> dict[str, Scalar]:
        """Its metadata, and what beside them can differ."""
        told: dict[str, Scalar] = {"kind": str(self.manifest.kind)}
        if self.manifest.mode:
            told["mode"] = f"{self.manifest.mode:04o}"
        if self.manifest.made_from:
            told["made from"] = ", ".join(map(str, self.manifest.made_from))
        return told | dict(self.manifest.metadata)

    @property
    def series(self) -> Mapping[str, SeriesInfo]:
        """What was found in it, by name."""
        description = self.reader.description(self.manifest)
        return {} if description is None else {item.info.name: item.info for item in description.series}


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs at one path; at least one side is there."""

    path: str
    before: Held | None
    after: Held | None
    shared: int = 0
    """Bytes of the newer original whose frames the older artifact is kept in too."""
    metadata: tuple[Alteration, ...] = ()
    series: tuple[Alteration, ...] = ()


def differences(first: Side, second: Side) -> Iterator[Difference]:
    """Yield what differs between two sides, by path; artifacts that are the same in both are left out.

    Two artifacts are the same where their bytes, kind, mode, origins and metadata are. Across vaults nothing is shared.
    Raises `InvalidInput` where a version is to be compared with an artifact.
    """
    if (first.path is None) != (second.path is None):
        raise InvalidInput("a version is compared with a version, and an artifact with an artifact: name two of a kind")
    pairs = (pair for pair in _pairs(first.entries(), second.entries()) if not _is_one(first, second, pair))
    while some := list(itertools.islice(pairs, _MANIFESTS_TOGETHER)):
        older = _held(first.reader, (before for before, _ in some))
        newer = _held(second.reader, (after for _, after in some))
        for before, after in zip(older, newer, strict=True):
            difference = _difference(before, after)
            if difference is not None:
                yield difference


def shared_bytes(older: Iterable[LocationPage], newer: Iterable[LocationPage]) -> int:
    """Return how many bytes of the newer original lie in frames that the older recipe names too.

    Both recipes are of one vault. Takes 8 bytes for each frame of the older one, and one page of the newer at a time.
    """
    packs: dict[PackRef, int] = {}
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *(_places(page, packs) for page in older)]))
    if not len(known):
        return 0
    shared = 0
    for page in newer:
        places = _places(page, packs)
        nearest = np.minimum(np.searchsorted(known, places), len(known) - 1)
        shared += int(page.raw_size[known[nearest] == places].sum(dtype=np.uint64))
    return shared


def _places(page: LocationPage, packs: dict[PackRef, int]) -> NDArray[np.uint64]:
    """Return a number for each frame of a page; where two are equal, so are pack and place in it."""
    numbers = np.array([packs.setdefault(pack, len(packs)) for pack in page.packs], np.uint64)
    if not len(page):
        return np.empty(0, np.uint64)
    return (numbers[page.pack] << np.uint64(_FRAME_BITS)) | page.index.astype(np.uint64)


def _pairs(
    first: Iterator[tuple[str, Found]], second: Iterator[tuple[str, Found]]
) -> Iterator[tuple[Found | None, Found | None]]:
    """Yield what stands at one path on both sides, or on one of them, in order of path."""
    old, new = next(first, None), next(second, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            yield (None if old is None else old[1]), None
            old = next(first, None)
        elif old is None or new[0] < old[0]:
            yield None, new[1]
            new = next(second, None)
        else:
            yield old[1], new[1]
            old, new = next(first, None), next(second, None)


def _is_one(first: Side, second: Side, pair: tuple[Found | None, Found | None]) -> bool:
    """Tell whether both sides have one and the same manifest, which then need not be read."""
    before, after = pair
    return (
        first.reader is second.reader
        and before is not None
        and after is not None
        and before.manifest_at == after.manifest_at
    )


def _held(reader: VaultReader, items: Iterable[Found | None]) -> Iterator[Held | None]:
    """Yield artifacts with their manifests, which are fetched together."""
    items = list(items)
    data = reader.frames.stream(item.manifest_at for item in items if item is not None)
    for item in items:
        yield None if item is None else Held(reader, item, parse_manifest(item, next(data)))


def _difference(before: Held | None, after: Held | None) -> Difference | None:
    """Say how an artifact differs from what was before; `None` where it does not."""
    if before is None or after is None:
        there = after or before
        return None if there is None else Difference(there.found.entry.path, before, after)
    metadata = tuple(_alterations(before.told, after.told))
    same_bytes = before.manifest.sha256 == after.manifest.sha256
    if same_bytes and not metadata:
        return None
    return Difference(
        after.found.entry.path,
        before,
        after,
        shared=_shared(before, after),
        metadata=metadata,
        series=tuple(_series_alterations(before.series, after.series)),
    )


def _shared(before: Held, after: Held) -> int:
    if before.reader is not after.reader:
        return 0
    reader = after.reader
    return shared_bytes(reader.locations(before.manifest), reader.locations(after.manifest))


def _alterations(before: Mapping[str, Scalar], after: Mapping[str, Scalar]) -> Iterator[Alteration]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if type(old) is not type(new) or repr(old) != repr(new):  # as text, so that NaN is what it was
            yield Alteration(name, _text(old), _text(new))


def _text(value: Scalar | None) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _series_alterations(before: Mapping[str, SeriesInfo], after: Mapping[str, SeriesInfo]) -> Iterator[Alteration]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        more = () if old is None or new is None else tuple(_unsaid(old, new))
        yield Alteration(name, _series_text(old, more), _series_text(new, more))


def _series_text(info: SeriesInfo | None, more: Iterable[str]) -> str | None:
    """Say what a series is: type, shape, rate and unit, and further fields by their names."""
    if info is None:
        return None
    told = [f"{info.dtype} ({', '.join(map(str, info.shape))})"]
    if info.sampling_rate:
        told.append(f"{info.sampling_rate:.9g} Hz")
    if info.unit:
        told.append(info.unit)
    told += [f"{name} {getattr(info, name)!s:.{_MAX_SHOWN}}" for name in more]
    return ", ".join(told)


def _unsaid(before: SeriesInfo, after: SeriesInfo) -> Iterator[str]:
    """Yield the fields that differ and that the text of a series does not say by itself."""
    for field in fields(before):
        said = field.name in ("name", "dtype", "shape", "sampling_rate", "unit")
        if not said and getattr(before, field.name) != getattr(after, field.name):
            yield field.name
