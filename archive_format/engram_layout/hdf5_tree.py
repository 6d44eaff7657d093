"""Walk an HDF5 file: every object once, in bounds, following nothing that leads out of the file.

Values are read only from datasets whose bytes lie in the file itself. A dataset with external storage or a virtual one could
name any other file of the depositor's machine, and what it holds would end up in the archive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import h5py
import numpy as np

MAX_OBJECTS: Final = 20_000
"""Groups and datasets that are looked at; what a file has beyond stays opaque."""
MAX_VALUE_BYTES: Final = 16 * 2**20
"""A dataset larger than this is an array and never a value of the metadata."""
MAX_TEXT: Final = 1000
"""Characters of a text in the metadata; the rest is cut off."""

UNREADABLE: Final = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError)
"""What h5py raises for a damaged or unusual object. One such object is passed over; the rest of the file is still read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset reached by hard links; `first` says whether it was not reached by another path before."""

    path: str
    address: int
    dataset: h5py.h5d.DatasetID
    first: bool


@dataclass(frozen=True, slots=True)
class SoftLink:
    """A link by path; where it leads is found when it is asked for."""

    path: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The walk ended at `MAX_OBJECTS`; the last item of such a walk."""


def walk(file: h5py.File) -> Iterator[Found | SoftLink | Cut]:
    """Yield the datasets and soft links of `file`, group by group, breadth first; external links are passed over."""
    pending: deque[tuple[str, h5py.h5g.GroupID]] = deque([("", file["/"].id)])
    seen = {address_of(file["/"].id)}
    objects = 0
    while pending:
        base, group = pending.popleft()
        for name, kind in _links(group):
            path = f"{base}/{name.decode(errors='replace')}"
            if kind == h5py.h5l.TYPE_SOFT:
                yield SoftLink(path)
            if kind != h5py.h5l.TYPE_HARD:
                continue
            objects += 1
            if objects > MAX_OBJECTS:
                yield Cut()
                return
            try:
                item = h5py.h5o.open(group, name)
                address = address_of(item)
            except UNREADABLE:
                continue
            first = address not in seen
            seen.add(address)
            if isinstance(item, h5py.h5d.DatasetID):
                yield Found(path, address, item, first)
            elif isinstance(item, h5py.h5g.GroupID) and first:
                pending.append((path, item))


def address_of(item: h5py.h5g.ObjectID) -> int:
    """Return where the object's header lies, which tells objects apart whatever links lead to them."""
    return int(h5py.h5o.get_info(item).addr)


def _links(group: h5py.h5g.GroupID) -> list[tuple[bytes, int]]:
    """Return name and kind of the links of a group by name; of an immense group, `MAX_OBJECTS` and one of them."""
    links: list[tuple[bytes, int]] = []

    def take(name: bytes, info: h5py.h5l.LinkInfo) -> bool | None:
        links.append((name, info.type))
        return True if len(links) > MAX_OBJECTS else None

    try:
        # In native order, or HDF5 would sort all the links of a group before it shows the first.
        group.links.iterate(take, info=True, order=h5py.h5.ITER_NATIVE)
    except UNREADABLE:
        return sorted(links)
    return sorted(links)


def is_local(dataset: h5py.h5d.DatasetID) -> bool:
    """Say whether the bytes of a dataset lie in its own file."""
    creation = dataset.get_create_plist()
    return bool(creation.get_layout() != h5py.h5d.VIRTUAL and creation.get_external_count() == 0)


def dataset_at(file: h5py.File, path: str) -> h5py.Dataset | None:
    """Return the dataset at `path` if there is one whose bytes lie in the file."""
    try:
        item = file.get(path)
        return item if isinstance(item, h5py.Dataset) and is_local(item.id) else None
    except UNREADABLE:
        return None


def group_at(file: h5py.File, path: str) -> h5py.Group | None:
    """Return the group at `path`, if there is one."""
    try:
        item = file.get(path)
        return item if isinstance(item, h5py.Group) else None
    except UNREADABLE:
        return None


def names_in(file: h5py.File, path: str) -> list[str]:
    """Return the names of the links in the group at `path`, sorted; none if it is no group."""
    group = group_at(file, path)
    return [] if group is None else sorted(name.decode(errors="replace") for name, _ in _links(group.id))


def attribute(item: h5py.Group | h5py.Dataset | None, name: str) -> object:
    """Return an attribute of one value as text, number or truth, or `None`."""
    try:
        return None if item is None or name not in item.attrs else _scalar(item.attrs[name])
    except UNREADABLE:
        return None


def attribute_texts(item: h5py.Group | h5py.Dataset | None, name: str) -> list[str]:
    """Return an attribute that lists texts, such as the names of a table's columns."""
    try:
        values = [] if item is None or name not in item.attrs else np.atleast_1d(item.attrs[name]).tolist()
    except UNREADABLE:
        return []
    return [value for value in map(_scalar, values) if isinstance(value, str)]


def value_at(file: h5py.File, path: str) -> object:
    """Return the dataset of one value at `path` as text, number or truth; several texts are joined by a comma."""
    dataset = dataset_at(file, path)
    try:
        if dataset is None or dataset.shape is None or dataset.size is None or dataset.nbytes > MAX_VALUE_BYTES:
            return None
        if dataset.shape == ():
            return _scalar(dataset[()])
        if dataset.size == 1:
            return _scalar(dataset[...].reshape(-1)[0])
        values = [_scalar(item) for item in dataset[...].reshape(-1)[:32]]
    except UNREADABLE:
        return None
    texts = [value for value in values if isinstance(value, str)]
    return ", ".join(texts)[:MAX_TEXT] if texts and len(texts) == len(values) else None


def number_at(file: h5py.File, path: str) -> float | None:
    """Return the dataset of one number at `path`."""
    return as_number(value_at(file, path))


def as_number(value: object) -> float | None:
    """Return a finite number as float64, and `None` for all else."""
    return float(value) if isinstance(value, int | float) and bool(np.isfinite(value)) else None


def as_text(value: object) -> str:
    """Return a text, cut to `MAX_TEXT`; empty for all else."""
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _scalar(value: object) -> object:
    """Return one value as `str`, `int`, `float` or `bool`, else `None`."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value.encode(errors="replace").decode().strip("\0 \r\n\t")[:MAX_TEXT]
    return value if isinstance(value, bool | int | float) else None
