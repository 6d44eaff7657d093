"""Plan an HDF5 file: its datasets as arrays, the arrays as series, and what its dialect says of them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

import h5py

from engram_format.array_type import ArrayType
from engram_format.errors import FormatError
from engram_format.series import MAX_SERIES, Chunked, Description, Series, SeriesInfo
from engram_layout.hdf5_dialect import Arrays, Dialect
from engram_layout.hdf5_segments import array_segments
from engram_layout.hdf5_stored import MAX_ALL_CHUNKS, StoredArray, settle, stored_array
from engram_layout.hdf5_tree import MAX_OBJECTS, UNREADABLE, Cut, Found, SoftLink, walk
from engram_layout.hdf5_vendors import describe_3brain, describe_cl1, describe_maxwell, describe_mcs
from engram_layout.nwb import describe_nwb
from engram_layout.opaque import plan_opaque
from engram_layout.plan import MAX_SEGMENTS, ArraySegment, Planned, covering

_DIALECTS: Final[tuple[Callable[[h5py.File, Arrays], Dialect | None], ...]] = (
    describe_nwb,
    describe_mcs,
    describe_cl1,
    describe_3brain,
    describe_maxwell,
)
_MAX_ARRAY_SEGMENTS: Final = (MAX_SEGMENTS - 2) // 2
"""Between any two arrays may lie an opaque segment."""


def plan_hdf5(file: BinaryIO, *, size: int, path: Path | None = None) -> Planned:
    """Return where the arrays of an HDF5 file of `size` bytes lie, its series, tables and metadata.

    What HDF5 cannot read, or reads from elsewhere than it says, is opaque, with a warning. `file` is seekable; nothing else is
    read, and `path` goes unused: HDF5 has no sidecars. Meant for the limited child: a hostile file may crash HDF5 itself.
    """
    try:
        with h5py.File(file, "r") as hdf5:
            return _plan(hdf5, file, size=size)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        return Planned(plan_opaque(size), {}, (f"HDF5 cannot read this file ({reason}): it is stored as plain bytes",))


def _plan(hdf5: h5py.File, file: BinaryIO, *, size: int) -> Planned:
    warnings: list[str] = []
    arrays = _arrays(hdf5, file, size=size, warnings=warnings)
    dialect = next(filter(None, (describe(hdf5, arrays) for describe in _DIALECTS)), Dialect("hdf5"))
    warnings += dialect.warnings
    series = _series(arrays, dialect, warnings=warnings)
    time_axes = {array.path: info.time_axis for info, array in dialect.series if info.time_axis}
    segments, types = _segments(arrays, time_axes)
    description = Description(dialect.family, tuple(series), dict(dialect.tables))
    plan = covering(size, segments, types, description=description)
    return Planned(plan, dialect.metadata, tuple(warnings))


def _arrays(hdf5: h5py.File, file: BinaryIO, *, size: int, warnings: list[str]) -> Arrays:
    """Find the arrays of the file and settle where they lie."""
    found: list[StoredArray] = []
    aliases: dict[str, int] = {}
    soft_links: list[str] = []
    damaged, chunks, user_block = 0, 0, int(hdf5.userblock_size)
    for item in walk(hdf5):
        match item:
            case Cut():
                warnings.append(
                    f"only the first {MAX_OBJECTS} objects of this file were looked at, the rest is plain bytes"
                )
            case SoftLink(path):
                soft_links.append(path)
            case Found(path, address, _, first) if not first:
                aliases[path] = address
            case Found():
                try:
                    array = stored_array(item, file=file, size=size, user_block=user_block)
                except UNREADABLE:
                    damaged += 1
                    continue
                if array is None:
                    continue
                chunks += len(array.storage.offsets) if isinstance(array.storage, Chunked) else 0
                if chunks <= MAX_ALL_CHUNKS:
                    found.append(array)
    settled, given_up = settle(found)
    if chunks > MAX_ALL_CHUNKS:
        warnings.append(
            f"this file has more than {MAX_ALL_CHUNKS} chunks: the last of its datasets are stored as plain bytes"
        )
    if damaged + given_up:
        warnings.append(
            f"{damaged + given_up} datasets of this file are damaged or do not lie where HDF5 says: they are plain bytes"
        )
    return Arrays(
        {array.path: array for array in settled}, {array.address: array for array in settled}, aliases, soft_links
    )


def _series(arrays: Arrays, dialect: Dialect, *, warnings: list[str]) -> list[Series]:
    """Make the series of the dialect and of the arrays that it does not name: each name once, the largest if too many."""
    named = {array.path for _, array in dialect.series}
    plain = [
        (SeriesInfo(array.path, array.dtype, array.shape), array)
        for path, array in arrays.by_path.items()
        if path not in named and array.is_series and len(array.shape) <= 32
    ]
    wanted = [(info, array) for info, array in (*dialect.series, *plain) if array.is_series]
    if len(wanted) > MAX_SERIES:
        warnings.append(f"this file has {len(wanted)} series: only the {MAX_SERIES} largest can be read as such")
        wanted = sorted(wanted, key=lambda pair: prod(pair[0].shape), reverse=True)[:MAX_SERIES]
    series: dict[str, Series] = {}
    for info, array in wanted:
        try:
            series.setdefault(info.name, Series(info, array.storage))
        except FormatError:
            continue
    return list(series.values())


def _segments(arrays: Arrays, time_axes: dict[str, int]) -> tuple[list[ArraySegment], tuple[ArrayType, ...]]:
    return array_segments(tuple(arrays.by_path.values()), time_axes=time_axes, at_most=_MAX_ARRAY_SEGMENTS)
