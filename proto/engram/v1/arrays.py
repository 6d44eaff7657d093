"""Arrays on the wire: a header with type and shape, then the elements as raw little-endian bytes in C order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from engram.v1 import replay_pb2 as pb
from engram.v1.values import fitting
from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput

CHUNK_BYTES = 512 << 10
"""Bytes in one message: gRPC in Python moves 256 KiB to 1 MiB fastest."""

_MAX_AXES = 16
_MAX_ARRAYS = 1024
_DTYPES: dict[pb.ElementType.ValueType, np.dtype[np.generic]] = {
    pb.ELEMENT_TYPE_BOOL: np.dtype("?"),
    pb.ELEMENT_TYPE_INT8: np.dtype("i1"),
    pb.ELEMENT_TYPE_INT16: np.dtype("<i2"),
    pb.ELEMENT_TYPE_INT32: np.dtype("<i4"),
    pb.ELEMENT_TYPE_INT64: np.dtype("<i8"),
    pb.ELEMENT_TYPE_UINT8: np.dtype("u1"),
    pb.ELEMENT_TYPE_UINT16: np.dtype("<u2"),
    pb.ELEMENT_TYPE_UINT32: np.dtype("<u4"),
    pb.ELEMENT_TYPE_UINT64: np.dtype("<u8"),
    pb.ELEMENT_TYPE_FLOAT16: np.dtype("<f2"),
    pb.ELEMENT_TYPE_FLOAT32: np.dtype("<f4"),
    pb.ELEMENT_TYPE_FLOAT64: np.dtype("<f8"),
    pb.ELEMENT_TYPE_COMPLEX64: np.dtype("<c8"),
    pb.ELEMENT_TYPE_COMPLEX128: np.dtype("<c16"),
}
_ELEMENT_TYPES = {dtype: number for number, dtype in _DTYPES.items()}


def header_of(name: str, array: AnyArray) -> pb.ArrayHeader:
    """Announce an array; raises `InvalidInput` for an element type that the wire has no word for."""
    with fitting(f"the array name {name!r:.100}"):
        return pb.ArrayHeader(name=name, element_type=element_type_of(name, array.dtype), shape=array.shape)


def element_type_of(name: str, dtype: np.dtype[np.generic]) -> pb.ElementType.ValueType:
    """Return the wire's word for an element type, in any byte order; raises `InvalidInput` where it has none."""
    number = _ELEMENT_TYPES.get(dtype.newbyteorder("<"))
    if number is None:
        raise InvalidInput(
            f"array {name!r} is of {dtype}: send booleans, integers, floats of 16 to 64 bits, or complex numbers"
        )
    return number


def dtype_of(name: str, number: pb.ElementType.ValueType) -> np.dtype[np.generic]:
    """Return the element type, little-endian, that the wire has a word for; raises `InvalidInput` for an unknown word."""
    if number not in _DTYPES:
        raise InvalidInput(f"array {name!r} is of an element type unknown to this version of Engram: upgrade it")
    return _DTYPES[number]


def disassemble(arrays: Mapping[str, AnyArray]) -> Iterator[pb.ArrayHeader | bytes]:
    """Yield for each array its header and then its bytes, at most `CHUNK_BYTES` at once; raises as `header_of` does."""
    for name, array in arrays.items():
        yield header_of(name, array)
        elements = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1)
        step = CHUNK_BYTES // elements.itemsize
        for first in range(0, elements.size, step):
            yield elements[first : first + step].tobytes()


class Assembler:
    """Puts arrays together from headers and bytes as they arrive, never holding more than `limit` bytes."""

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = limit
        self._held = 0
        self._arrays: dict[str, AnyArray] = {}
        self._name = ""
        self._bytes = memoryview(b"")
        self._filled = 0

    def begin(self, header: pb.ArrayHeader) -> None:
        """Start the next array; raises `InvalidInput` if the one before is not complete or the header cannot be right."""
        self._check_complete()
        name, shape = header.name, tuple(header.shape)
        if header.element_type not in _DTYPES or len(shape) > _MAX_AXES or any(length < 0 for length in shape):
            raise InvalidInput(f"the header of array {name!r} is wrong: give a known element type and a shape")
        if len(self._arrays) == _MAX_ARRAYS:
            raise InvalidInput(f"more than {_MAX_ARRAYS} arrays arrived: no student has so many inputs")
        if name in self._arrays:
            raise InvalidInput(f"array {name!r} is sent twice: send every array once")
        dtype = _DTYPES[header.element_type]
        size = math.prod(shape) * dtype.itemsize
        if self._limit is not None and self._held + size > self._limit:
            raise InvalidInput(
                f"the arrays up to {name!r} have {self._held + size} bytes and at most {self._limit} are taken inline: "
                "deposit the stimulus and replay it by its address"
            )
        self._held += size
        elements = np.empty(math.prod(shape), dtype=dtype)
        try:
            self._arrays[name] = elements.reshape(shape)
        except ValueError as error:
            raise InvalidInput(f"array {name!r} cannot have the shape {shape}: its axes are too long") from error
        self._name, self._bytes, self._filled = name, elements.view(np.uint8).data, 0

    def fill(self, data: bytes) -> None:
        """Take the next bytes of the array that was begun; raises `InvalidInput` for more than it has room for."""
        stop = self._filled + len(data)
        if stop > len(self._bytes):
            raise InvalidInput(f"array {self._name!r} has {len(self._bytes)} bytes but more arrived: mend its header")
        self._bytes[self._filled : stop] = data
        self._filled = stop

    def finish(self) -> dict[str, AnyArray]:
        """Return the arrays by name, in the order of arrival; raises `InvalidInput` if the last one is not complete."""
        self._check_complete()
        return self._arrays

    def _check_complete(self) -> None:
        if self._filled != len(self._bytes):
            raise InvalidInput(
                f"array {self._name!r} has {len(self._bytes)} bytes but {self._filled} arrived: send all"
            )
