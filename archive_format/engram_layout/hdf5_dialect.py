"""What the writers of HDF5 files add to bare datasets: the seam between HDF5 and NWB or the makers of recording systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import h5py
import numpy as np

from engram_format.catalog import Metadata
from engram_format.series import Column, SeriesInfo, Table
from engram_layout.hdf5_stored import StoredArray
from engram_layout.hdf5_tree import MAX_TEXT, UNREADABLE, dataset_at, is_local

MAX_ROWS: Final = 10_000
"""Rows of a table that are described."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """The arrays of a file, by path and by the address of their dataset, and its soft links."""

    by_path: Mapping[str, StoredArray]
    by_address: Mapping[int, StoredArray]
    aliases: Mapping[str, int]
    """Further paths (hard links) of datasets that have a path already, and their addresses."""
    soft_links: Sequence[str]

    def at(self, file: h5py.File, path: str) -> StoredArray | None:
        """Return the array at `path`, also where that is a link to it."""
        if path in self.by_path:
            return self.by_path[path]
        dataset = dataset_at(file, path)
        try:
            return None if dataset is None else self.by_address.get(int(h5py.h5o.get_info(dataset.id).addr))
        except UNREADABLE:
            return None


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """What one dialect made of a file. An array without a series here becomes one under its own path."""

    family: str
    series: Sequence[tuple[SeriesInfo, StoredArray]] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def column_at(file: h5py.File, path: str, *, at_most: int = MAX_ROWS) -> Column | None:
    """Return the first rows of a one-dimensional dataset as numbers or texts; `None` for anything else."""
    dataset = dataset_at(file, path)
    try:
        return None if dataset is None or len(dataset.shape or ()) != 1 else as_column(dataset[:at_most])
    except UNREADABLE:
        return None


def as_column(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Column | None:
    """Return one value a row as numbers or texts; `None` if they are neither."""
    if values.ndim != 1:
        return None
    if values.dtype.kind in "iufb":
        return values.astype(np.float64)
    if values.dtype.kind not in "SO":
        return None
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.tolist()]
    if not all(isinstance(text, str) for text in texts):
        return None
    return [text.encode(errors="replace").decode()[:MAX_TEXT] for text in texts]


def records_at(file: h5py.File, path: str) -> Table | None:
    """Return a dataset of records (a compound type) as a table of those of its members that are numbers or texts."""
    dataset = dataset_at(file, path)
    try:
        if dataset is None or not dataset.dtype.names or len(dataset.shape) != 1 or not is_local(dataset.id):
            return None
        rows = dataset[:MAX_ROWS]
        columns = {name: as_column(rows[name]) for name in dataset.dtype.names}
    except UNREADABLE:
        return None
    return table_of(columns)


def table_of(columns: Mapping[str, Column | None]) -> Table | None:
    """Return the table of those columns that are there and as long as the first; `None` if there are none."""
    there = {name: column for name, column in columns.items() if column is not None}
    rows = next((len(column) for column in there.values()), 0)
    return Table({name: column for name, column in there.items() if len(column) == rows}) if rows else None
