"""Read a series from the original bytes of its file: the tests' own reader, as plain as it can be."""

from __future__ import annotations

import zlib

import h5py
import numpy as np
from numpy.typing import NDArray

from engram_format.array_type import Filter
from engram_format.series import NO_CHUNK, Chunked, Contiguous, Series


class UnknownFilterError(Exception):
    """The series was filtered by something that this reader does not know."""


def raw_bits(dataset: h5py.Dataset) -> bytes:
    """Read a dataset through HDF5 with no conversion of its elements."""
    kind = dataset.id.get_type()
    out = np.zeros(dataset.size * kind.get_size(), np.uint8)
    if dataset.size:
        dataset.id.read(h5py.h5s.create_simple((dataset.size,)), dataset.id.get_space(), out, mtype=kind)
    return out.tobytes()


def array_of(series: Series, data: bytes) -> NDArray[np.generic]:
    """Return the elements of a series with no bit changed."""
    info, dtype = series.info, np.dtype(series.info.dtype)
    match series.storage:
        case Contiguous(offset):
            count = int(np.prod(info.shape, dtype=np.int64))
            return np.frombuffer(data, dtype, count, offset).reshape(info.shape)
        case Chunked(chunk, offsets, sizes, filters, masks, fill):
            element = np.frombuffer(fill, dtype)[0] if fill else np.zeros((), dtype)[()]
            out = np.empty(info.shape, dtype)
            grid = [-(-length // step) for length, step in zip(info.shape, chunk, strict=True)]
            for number, place in enumerate(np.ndindex(*grid)):
                box = tuple(slice(index * step, index * step + step) for index, step in zip(place, chunk, strict=True))
                if offsets[number] == NO_CHUNK:
                    out[box] = element
                    continue
                stored = data[int(offsets[number]) : int(offsets[number]) + int(sizes[number])]
                mask = 0 if masks is None else int(masks[number])
                applied = [step for bit, step in enumerate(filters) if not mask >> bit & 1]
                whole = np.frombuffer(_unfiltered(stored, applied), dtype).reshape(chunk)
                out[box] = whole[tuple(slice(0, length) for length in out[box].shape)]
            return out
        case _:
            raise AssertionError(series.storage)


def _unfiltered(stored: bytes, applied: list[Filter]) -> bytes:
    for step in reversed(applied):
        match step.name:
            case "deflate":
                stored = zlib.decompress(stored)
            case "shuffle":
                item = step.parameters[0]
                whole = len(stored) // item * item
                planes = np.frombuffer(stored[:whole], np.uint8).reshape(item, -1)
                stored = planes.T.tobytes() + stored[whole:]
            case "fletcher32":
                stored = stored[:-4]
            case name:
                raise UnknownFilterError(name)
    return stored
