"""Where the elements of an HDF5 dataset lie in the file's bytes, and whether they truly lie there.

HDF5 says where it keeps a dataset; nothing of that is trusted. Extents must lie in the file, fit the shape and overlap
nothing, and bytes taken at the said places are compared with what HDF5 itself reads. What differs is no array of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import BinaryIO, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from engram_format.array_type import Filter
from engram_format.series import NO_CHUNK, Chunked, Contiguous
from engram_layout.hdf5_tree import Found, is_local

MAX_CHUNKS: Final = 2**20
"""Chunks in the grid of one dataset; of the whole file, `MAX_ALL_CHUNKS`. Beyond, a dataset stays opaque."""
MAX_ALL_CHUNKS: Final = 2**21
_MAX_UNSTORED_BYTES: Final = 64 * 2**20
"""A dataset that is not stored at all is a series only up to this size: it holds nothing but its fill value."""
_CHECKED_CHUNKS: Final = 65_536
_CHECKED_CHUNK_BYTES: Final = 256 * 2**20
_CHECKED_ALL_BYTES: Final = 512 * 2**20
"""Of larger datasets some chunks are compared, of smaller ones all."""
_CHECKED_MISSING_CHUNKS: Final = 1024
_CHECKED_EDGES: Final = 1024
_CHECKED_BYTES: Final = 4096

_FILTER_NAMES: Final[Mapping[int, str]] = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """One dataset and where its bytes are; offsets as HDF5 gives them until `at_shift`."""

    path: str
    address: int
    dtype: str
    shape: tuple[int, ...]
    storage: Contiguous | Chunked
    shifts: frozenset[int]
    """By how many bytes the offsets may have to be shifted (the user block): those under which the bytes agree."""

    @property
    def item(self) -> int:
        """Bytes of one element."""
        return int(self.dtype[2:])

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return prod(self.shape) * self.item

    @property
    def is_series(self) -> bool:
        """Whether it is an array of numbers with an axis."""
        return bool(self.shape) and self.dtype[1] not in "SV"

    def at_shift(self, shift: int) -> StoredArray:
        """Return the same array with offsets from the file's first byte."""
        if shift == 0:
            return self
        match self.storage:
            case Contiguous(offset):
                return replace(self, storage=Contiguous(offset + shift))
            case Chunked(offsets=offsets):
                moved = np.where(offsets == NO_CHUNK, offsets, offsets + np.uint64(shift))
                return replace(self, storage=replace(self.storage, offsets=moved))

    def extents(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return begin and end of every stored run of bytes: two arrays of equal length."""
        match self.storage:
            case Contiguous(offset):
                return np.array([offset], np.uint64), np.array([offset + self.nbytes], np.uint64)
            case Chunked(offsets=offsets, sizes=sizes):
                kept = offsets != NO_CHUNK
                return offsets[kept], offsets[kept] + sizes[kept].astype(np.uint64)


def stored_array(found: Found, *, file: BinaryIO, size: int, user_block: int) -> StoredArray | None:
    """Return where a dataset's elements lie in a file of `size` bytes; `None` if they have no place of their own there.

    That is so for compact, virtual and external datasets, for elements of variable length, for what HDF5 does not say, and
    for whatever does not hold together. Raises what h5py raises for damaged objects.
    """
    dataset = found.dataset
    creation = dataset.get_create_plist()
    layout, shape = creation.get_layout(), dataset.shape
    if not shape or layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or not is_local(dataset):
        return None
    dtype = _dtype(dataset.get_type())
    if dtype is None:
        return None
    shape = tuple(int(length) for length in shape)
    storage: Contiguous | Chunked | None = None
    if layout == h5py.h5d.CONTIGUOUS:
        storage = _contiguous(dataset, dtype=dtype, shape=shape)
    else:
        storage = _chunked(dataset, dtype=dtype, shape=shape)
    if storage is None:
        return None
    array = StoredArray(found.path, found.address, dtype, shape, storage, frozenset((0, user_block)))
    shifts = frozenset(
        shift for shift in array.shifts if _within(array.at_shift(shift), size) and _agrees(dataset, array, file, shift)
    )
    return replace(array, storage=_with_plain_edges(dataset, storage, shape), shifts=shifts) if shifts else None


def settle(arrays: Iterable[StoredArray]) -> tuple[list[StoredArray], int]:
    """Return the arrays at their true offsets and how many were given up: those that overlap, or agree to no common shift."""
    arrays = list(arrays)
    votes = [shift for array in arrays for shift in array.shifts]
    shift = max(sorted(set(votes)), key=votes.count, default=0)
    agreeing = [array.at_shift(shift) for array in arrays if shift in array.shifts]
    overlapping = _overlapping(agreeing)
    settled = [array for index, array in enumerate(agreeing) if index not in overlapping]
    return settled, len(arrays) - len(settled)


def _dtype(kind: h5py.h5t.TypeID) -> str | None:
    """Return numpy's text form of an element type; bytes of which nothing is known are `|V<n>`; `None` for pointers.

    A number of fewer bits than its bytes, or of a form that numpy lacks, is bytes too.
    """
    if kind.detect_class(h5py.h5t.VLEN) or kind.detect_class(h5py.h5t.REFERENCE):
        return None
    if kind.get_class() == h5py.h5t.ENUM:
        kind = kind.get_super()
    length = int(kind.get_size())
    opaque = f"|V{length}" if 1 <= length < 10**9 else None
    if kind.get_class() == h5py.h5t.STRING:
        return None if kind.is_variable_str() else opaque and opaque.replace("V", "S")
    if _holds_variable_text(kind):
        return None
    try:
        dtype = kind.dtype
        same = dtype.kind in "iufc" and dtype.itemsize == length and _is_plain(kind, dtype)
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError):
        return opaque
    return dtype.str if same and dtype.str[2:] in ("1", "2", "4", "8", "16") and dtype.str[1:] != "f16" else opaque


def _holds_variable_text(kind: h5py.h5t.TypeID) -> bool:
    match kind.get_class():
        case h5py.h5t.STRING:
            return bool(kind.is_variable_str())
        case h5py.h5t.COMPOUND:
            return any(_holds_variable_text(kind.get_member_type(index)) for index in range(kind.get_nmembers()))
        case h5py.h5t.ARRAY:
            return _holds_variable_text(kind.get_super())
        case _:
            return False


def _is_plain(kind: h5py.h5t.TypeID, dtype: np.dtype[np.generic]) -> bool:
    if dtype.kind == "c" and kind.get_class() == h5py.h5t.COMPOUND:
        half = np.dtype(dtype.str[0] + f"f{dtype.itemsize // 2}")
        plain = h5py.h5t.py_create(half)
        return (
            kind.get_nmembers() == 2
            and [kind.get_member_offset(index) for index in (0, 1)] == [0, half.itemsize]
            and all(kind.get_member_type(index).equal(plain) for index in (0, 1))
        )
    return bool(kind.equal(h5py.h5t.py_create(dtype)))


def _contiguous(dataset: h5py.h5d.DatasetID, *, dtype: str, shape: tuple[int, ...]) -> Contiguous | Chunked | None:
    offset, stored = dataset.get_offset(), dataset.get_storage_size()
    wanted = prod(shape) * int(dtype[2:])
    # Asked as well as the offset: behind a user block, HDF5 adds its length to the offset that means "nowhere".
    unstored = dataset.get_space_status() == h5py.h5d.SPACE_STATUS_NOT_ALLOCATED
    if unstored or offset is None or wanted == 0:
        return _unstored(dataset, dtype=dtype, shape=shape)
    return Contiguous(int(offset)) if stored == wanted else None


def _unstored(dataset: h5py.h5d.DatasetID, *, dtype: str, shape: tuple[int, ...]) -> Chunked | None:
    """Describe a dataset that has no bytes in the file as one chunk that is not there."""
    if not shape or prod(shape) * int(dtype[2:]) > _MAX_UNSTORED_BYTES:
        return None
    chunk = tuple(max(1, length) for length in shape)
    count = 1 if prod(shape) else 0
    fill = _read(dataset, (0,) * len(shape), (1,) * len(shape)) if count else b""
    return Chunked(chunk, np.full(count, NO_CHUNK, np.uint64), np.zeros(count, np.uint32), (), None, fill)


def _chunked(dataset: h5py.h5d.DatasetID, *, dtype: str, shape: tuple[int, ...]) -> Chunked | None:
    creation = dataset.get_create_plist()
    chunk = tuple(int(length) for length in creation.get_chunk())
    if len(chunk) != len(shape) or not all(chunk):
        return None
    grid = _grid(shape, chunk)
    if prod(grid) > MAX_CHUNKS:
        return None
    filters = tuple(_filter(creation.get_filter(index)) for index in range(creation.get_nfilters()))
    offsets = np.full(prod(grid), NO_CHUNK, np.uint64)
    sizes, masks = np.zeros(prod(grid), np.uint32), np.zeros(prod(grid), np.uint32)
    infos: list[h5py.h5d.StoreInfo] = []
    if dataset.get_num_chunks() > 2 * MAX_CHUNKS:
        return None
    dataset.chunk_iter(infos.append)
    for info in infos:
        place = [begin // step for begin, step in zip(info.chunk_offset, chunk, strict=True)]
        if any(begin % step for begin, step in zip(info.chunk_offset, chunk, strict=True)):
            return None
        if any(index >= count for index, count in zip(place, grid, strict=True)):
            continue  # Left over beyond the shape, from before the dataset was made smaller.
        number = int(np.ravel_multi_index(place, grid))
        if offsets[number] != NO_CHUNK or info.byte_offset is None:
            return None
        offsets[number], sizes[number], masks[number] = info.byte_offset, info.size, info.filter_mask
    storage = Chunked(chunk, offsets, sizes, filters, masks if masks.any() else None, b"")
    if not _sizes_fit(storage, item=int(dtype[2:])):
        return None
    missing = np.flatnonzero(offsets == NO_CHUNK)
    if len(missing) == 0:
        return storage
    begin = tuple(int(index) * step for index, step in zip(np.unravel_index(missing[0], grid), chunk, strict=True))
    return replace(storage, fill=_read(dataset, begin, (1,) * len(shape)))


def _with_plain_edges(
    dataset: h5py.h5d.DatasetID, storage: Contiguous | Chunked, shape: tuple[int, ...]
) -> Contiguous | Chunked:
    """Mark the chunks at the edge that hold their elements unfiltered though no mask says so.

    HDF5 has an option for that (`H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS`) which h5py does not tell: it shows in the bytes.
    """
    if not isinstance(storage, Chunked) or not storage.filters:
        return storage
    item, chunk = int(dataset.get_type().get_size()), storage.chunk
    grid = _grid(shape, chunk)
    whole = np.ones(grid, bool)
    for axis, (length, step) in enumerate(zip(shape, chunk, strict=True)):
        if length % step:
            np.moveaxis(whole, axis, 0)[-1] = False
    masks = masks_of(storage)
    edges = np.flatnonzero(~whole.reshape(-1) & (storage.offsets != NO_CHUNK) & (masks == 0))
    if not len(edges) or (storage.sizes[edges] != prod(chunk) * item).any():
        return storage
    for number in _some(edges, _CHECKED_EDGES):
        begin = _begin_of(number, grid, chunk)
        count = tuple(min(step, length - at) for step, length, at in zip(chunk, shape, begin, strict=True))
        stored = np.frombuffer(dataset.read_direct_chunk(begin)[1], f"V{item}").reshape(chunk)
        if stored[tuple(slice(0, length) for length in count)].tobytes() != _read(dataset, begin, count):
            return storage
    masks = masks.copy()
    masks[edges] = all_masked(storage)
    return replace(storage, masks=masks)


def _filter(step: tuple[int, int, Sequence[int], bytes]) -> Filter:
    number, _, parameters, _ = step
    return Filter(_FILTER_NAMES.get(number, f"hdf5:{number}"), tuple(int(value) for value in parameters[:64]))


def _sizes_fit(storage: Chunked, *, item: int) -> bool:
    """Say whether every stored chunk has bytes, and as many as its elements where no filter was applied."""
    whole = prod(storage.chunk) * item
    kept = storage.offsets != NO_CHUNK
    if not storage.sizes[kept].all():
        return False
    plain = kept & (masks_of(storage) == all_masked(storage)) if storage.filters else kept
    return bool((storage.sizes[plain] == whole).all())


def _grid(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """Return the count of chunks along each axis."""
    return tuple(-(-length // step) for length, step in zip(shape, chunk, strict=True))


def _begin_of(number: int, grid: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    begin: list[int] = []
    for count, step in zip(reversed(grid), reversed(chunk), strict=True):
        number, index = divmod(number, count)
        begin.append(index * step)
    return tuple(reversed(begin))


def masks_of(storage: Chunked) -> NDArray[np.uint32]:
    """Return for each chunk which of its filters were not applied, bit by bit."""
    return np.zeros(len(storage.offsets), np.uint32) if storage.masks is None else storage.masks


def all_masked(storage: Chunked) -> int:
    """Return the mask of a chunk to which no filter was applied."""
    return (1 << len(storage.filters)) - 1


def _within(array: StoredArray, size: int) -> bool:
    if isinstance(array.storage, Contiguous):
        return array.storage.offset + array.nbytes <= size
    begins, ends = array.extents()
    return bool((begins < size).all() and (ends <= size).all())


def _agrees(dataset: h5py.h5d.DatasetID, array: StoredArray, file: BinaryIO, shift: int) -> bool:
    """Compare bytes at the said places with what HDF5 reads: the beginning and the end, and some chunks."""
    shape = array.shape
    match array.storage:
        case Contiguous(offset):
            begin, stop = offset + shift, offset + shift + array.nbytes
            if array.nbytes <= _CHECKED_BYTES:
                return _bytes_at(file, begin, array.nbytes) == _read(dataset, (0,) * len(shape), shape)
            count = (*(1 for _ in shape[:-1]), min(shape[-1], max(1, _CHECKED_BYTES // array.item)))
            first = _read(dataset, (0,) * len(shape), count)
            end = tuple(length - step for length, step in zip(shape, count, strict=True))
            final = _read(dataset, end, count)
            return (
                _bytes_at(file, begin, len(first)) == first and _bytes_at(file, stop - len(final), len(final)) == final
            )
        case Chunked() as storage:
            return _chunks_agree(dataset, storage, shape, file, shift)


def _chunks_agree(
    dataset: h5py.h5d.DatasetID, storage: Chunked, shape: tuple[int, ...], file: BinaryIO, shift: int
) -> bool:
    """Look chunks up one by one, as a reader does, all if they are not too many: a damaged index lists what none finds."""
    grid = _grid(shape, storage.chunk)
    masks, kept = masks_of(storage), storage.offsets != NO_CHUNK
    stored = np.flatnonzero(kept & (storage.sizes <= _CHECKED_CHUNK_BYTES))
    at_most = min(_CHECKED_CHUNKS, 2 + _CHECKED_ALL_BYTES // int(storage.sizes.max(initial=1)))
    for number in _some(stored, at_most):
        mask, found = dataset.read_direct_chunk(_begin_of(number, grid, storage.chunk))
        wanted = _bytes_at(file, int(storage.offsets[number]) + shift, int(storage.sizes[number]))
        if mask != masks[number] or wanted != bytes(found):
            return False
    return not any(
        _is_found(dataset, _begin_of(number, grid, storage.chunk))
        for number in _some(np.flatnonzero(~kept), _CHECKED_MISSING_CHUNKS)
    )


def _some(numbers: NDArray[np.int64], at_most: int) -> list[int]:
    """Return up to `at_most` of the numbers, evenly spread, with the first and the last."""
    if len(numbers) > at_most:
        numbers = numbers[np.linspace(0, len(numbers) - 1, at_most).astype(np.int64)]
    return [int(number) for number in numbers]


def _is_found(dataset: h5py.h5d.DatasetID, begin: tuple[int, ...]) -> bool:
    if dataset.get_space_status() == h5py.h5d.SPACE_STATUS_NOT_ALLOCATED:
        return False
    try:
        dataset.read_direct_chunk(begin)
    except (OSError, RuntimeError, ValueError):
        return False
    return True


def _bytes_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _read(dataset: h5py.h5d.DatasetID, begin: tuple[int, ...], count: tuple[int, ...]) -> bytes:
    """Read elements as the bytes that the file holds, without any conversion."""
    kind, space = dataset.get_type(), dataset.get_space()
    out = np.zeros(prod(count) * int(kind.get_size()), np.uint8)
    if begin:
        space.select_hyperslab(begin, count)
    dataset.read(h5py.h5s.create_simple((prod(count),)), space, out, mtype=kind)
    return out.tobytes()


def _overlapping(arrays: Sequence[StoredArray]) -> set[int]:
    """Return the indices of arrays of which some extent overlaps another, their own included."""
    if not arrays:
        return set()
    pairs = [array.extents() for array in arrays]
    owners = np.repeat(np.arange(len(arrays)), [len(begins) for begins, _ in pairs])
    begins, ends = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    if not len(begins):
        return set()
    order = np.argsort(begins, kind="stable")
    begins, ends, owners = begins[order], ends[order], owners[order]
    reach = np.maximum.accumulate(ends)
    # Whose end it is that reaches furthest before each extent.
    furthest = np.maximum.accumulate(np.where(ends == reach, np.arange(len(ends)), 0))
    clash = np.flatnonzero(begins[1:] < reach[:-1]) + 1
    return {int(owner) for owner in np.unique(np.concatenate([owners[clash], owners[furthest[clash - 1]]]))}
