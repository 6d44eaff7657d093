"""The use case of comparing two versions: what was added, removed and changed, and how much the newer one shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.catalog import Alteration, Change, Scalar
from engram_format.errors import InvalidInput
from engram_format.history import Commit
from engram_format.location import LocationPage, PackRef
from engram_format.manifest import Manifest
from engram_format.series import SeriesInfo
from engram_server.engine import describe
from engram_store.reader import Found, VaultReader

_FRAME_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Side:
    """A version, or what lies at a path in it."""

    reader: VaultReader
    commit: Commit
    path: str | None

    def entries(self) -> Iterator[tuple[str, Found]]:
        """Yield what is compared, in order: by its path below this side's path, which is empty for that path itself."""
        start = 0 if self.path is None else len(self.path)
        found = False
        for item in self.reader.entries(self.commit, below=self.path):
            found = True
            yield item.entry.path[start:], item
        if self.path is not None and not found:
            self.reader.find(self.commit, self.path)  # which raises `NotFound` with the nearest paths


@dataclass(frozen=True, slots=True)
class _Opened:
    """An artifact of one side, with its manifest."""

    reader: VaultReader
    found: Found
    manifest: Manifest

    @classmethod
    def of(cls, reader: VaultReader, found: Found) -> _Opened:
        return cls(reader, found, reader.manifest(found))

    @property
    def series(self) -> Mapping[str, SeriesInfo]:
        """What is in it, by name."""
        description = self.reader.description(self.manifest)
        return {} if description is None else {item.info.name: item.info for item in description.series}

    @property
    def told(self) -> dict[str, Scalar]:
        """Its metadata, and what of it can differ beside them."""
        own: dict[str, Scalar] = {"kind": str(self.found.entry.kind), "mode": f"{self.manifest.mode:04o}"}
        origins: dict[str, Scalar] = {"made_from": ", ".join(map(str, self.manifest.made_from))}
        return {name: value for name, value in (own | origins).items() if value != ""} | dict(self.manifest.metadata)


def diff(first: Side, second: Side) -> Iterator[Change]:
    """Yield what differs between two sides, by path; artifacts that are the same in both are left out."""
    if (first.path is None) != (second.path is None):
        raise InvalidInput("a version is compared with a version, and an artifact with an artifact: name two of a kind")
    for before, after in _pairs(first.entries(), second.entries()):
        if before is not None and after is not None:
            change = _changed(_Opened.of(first.reader, before), after, second.reader)
            if change is not None:
                yield change
            continue
        old = None if before is None else _Opened.of(first.reader, before)
        new = None if after is None else _Opened.of(second.reader, after)
        there = after if after is not None else before
        yield Change(
            path="" if there is None else there.entry.path,
            before=None if old is None else describe.artifact(first.reader.store.name, old.found, old.manifest),
            after=None if new is None else describe.artifact(second.reader.store.name, new.found, new.manifest),
            shared=0,
        )


def shared_bytes(older: Iterable[LocationPage], newer: Iterable[LocationPage]) -> int:
    """Return how many bytes of the newer original lie in frames that the older recipe names too.

    Takes 8 bytes for each frame of the older recipe, and one page of the newer at a time.
    """
    packs: dict[PackRef, int] = {}
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *(_keys(page, packs) for page in older)]))
    shared = 0
    for page in newer:
        keys = _keys(page, packs)
        if len(known) and len(keys):
            places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            shared += int(page.raw_size[known[places] == keys].sum(dtype=np.uint64))
    return shared


def _keys(page: LocationPage, packs: dict[PackRef, int]) -> NDArray[np.uint64]:
    """Return a number for each frame: equal numbers are equal places."""
    numbers = np.array([packs.setdefault(pack, len(packs)) for pack in page.packs], np.uint64)
    if not len(page):
        return np.empty(0, np.uint64)
    return (numbers[page.pack] << np.uint64(_FRAME_BITS)) | page.index.astype(np.uint64)


def _pairs(
    first: Iterator[tuple[str, Found]], second: Iterator[tuple[str, Found]]
) -> Iterator[tuple[Found | None, Found | None]]:
    """Yield what stands at the same path on both sides, or on one of them, in order of path."""
    old, new = next(first, None), next(second, None)
    while old is not None or new is not None:
        if old is not None and (new is None or old[0] < new[0]):
            yield old[1], None
            old = next(first, None)
        elif new is not None and (old is None or new[0] < old[0]):
            yield None, new[1]
            new = next(second, None)
        elif old is not None and new is not None:
            yield old[1], new[1]
            old, new = next(first, None), next(second, None)


def _changed(before: _Opened, found: Found, reader: VaultReader) -> Change | None:
    """Return how an artifact differs from the one before; `None` where it does not."""
    same_vault = before.reader is reader
    if same_vault and before.found.manifest_at == found.manifest_at:
        return None
    after = _Opened.of(reader, found)
    metadata = tuple(_alterations(before.told, after.told))
    same_bytes = before.found.entry.sha256 == found.entry.sha256
    if same_bytes and not metadata and before.found.entry.path == found.entry.path:
        return None
    series = () if same_bytes else tuple(_series_alterations(before.series, after.series))
    shared = (
        shared_bytes(before.reader.locations(before.manifest), reader.locations(after.manifest)) if same_vault else 0
    )
    return Change(
        path=found.entry.path,
        before=describe.artifact(before.reader.store.name, before.found, before.manifest),
        after=describe.artifact(reader.store.name, found, after.manifest),
        shared=shared,
        metadata=metadata,
        series=series,
    )


def _alterations(before: Mapping[str, Scalar], after: Mapping[str, Scalar]) -> Iterator[Alteration]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if type(old) is not type(new) or repr(old) != repr(new):
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
        more = [] if old is None or new is None else _hidden_differences(old, new)
        yield Alteration(name, _series_text(old, more), _series_text(new, more))


def _series_text(info: SeriesInfo | None, more: Iterable[str]) -> str | None:
    """Say what a series is, with further fields by name."""
    if info is None:
        return None
    parts = [f"{info.dtype} ({', '.join(map(str, info.shape))})"]
    if info.sampling_rate:
        parts.append(f"{info.sampling_rate:g} Hz")
    if info.unit:
        parts.append(info.unit)
    parts += [f"{name} {getattr(info, name)!s:.200}" for name in more]
    return ", ".join(parts)


def _hidden_differences(before: SeriesInfo, after: SeriesInfo) -> list[str]:
    """Return the fields that differ and that the text of a series does not say."""
    said = ("name", "dtype", "shape", "sampling_rate", "unit")
    names = (item.name for item in fields(before) if item.name not in said)
    return [name for name in names if getattr(before, name) != getattr(after, name)]
