"""NumPy's `.npy` arrays, and those of `.npz` files that lie in them uncompressed (numpy.lib.format, versions 1 to 3).

The series of a `.npy` file is `/array`, and of a member of a `.npz` file `/<member>` without its `.npy`. In a folder of Open
Ephys it is `/<file's stem>`, and `timestamps.npy` of floats is in seconds. The time axis is the first one. Fortran order is
told by the shape: it is reversed, and time is then the last axis of what is stored. Records, texts and dates are bytes of a
fixed length; arrays of Python objects have no series.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np

from engram_format.array_type import ArrayType
from engram_format.catalog import Scalar
from engram_format.errors import FormatError
from engram_format.series import Contiguous, Description, Series, SeriesInfo
from engram_layout.channels import distinct
from engram_layout.header import MIN_ARRAY_BYTES, opaque_if_refused, plain_text, read_at, row_of
from engram_layout.plan import ArraySegment, Planned, covering
from engram_layout.zip_members import Member, zip_members

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 10_000
_MAX_ITEM: Final = 2**24
_MAX_FORTRAN_AXES: Final = 2
_NOT_SLICED: Final = "an array in Fortran order with three axes or more is no series: save it in C order to slice it"
_MAX_AXES: Final = 32
_MAX_ARRAYS: Final = 10_000
_KNOWN: Final = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"})


@dataclass(frozen=True, slots=True)
class _Array:
    dtype: str
    shape: tuple[int, ...]
    """As numpy shows it."""
    is_fortran: bool
    offset: int
    description: str

    @property
    def item(self) -> int:
        return int(self.dtype[2:])

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.item

    @property
    def row_elements(self) -> int:
        """Elements that lie side by side and belong to one moment."""
        return 1 if self.is_fortran else math.prod(self.shape[1:])

    @property
    def is_sliceable(self) -> bool:
        """Whether a slice shows the axes in numpy's order: those behind time are never exchanged."""
        return not self.is_fortran or len(self.shape) <= _MAX_FORTRAN_AXES

    def series(self, name: str, *, unit: str = "") -> Series:
        """Return the array as a series."""
        stored = tuple(reversed(self.shape)) if self.is_fortran else self.shape
        info = SeriesInfo(
            name=name,
            dtype=self.dtype,
            shape=stored,
            time_axis=max(len(stored) - 1, 0) if self.is_fortran else 0,
            unit=unit,
            description=self.description,
        )
        return Series(info, Contiguous(self.offset))

    def array_type(self, name: str) -> ArrayType:
        """Return the type of the array's elements as they lie in the file."""
        return ArrayType(name, self.dtype, *row_of(self.row_elements, self.item))


@opaque_if_refused("NumPy")
def plan_npy(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan a `.npy` file of `size` bytes; a header that lies makes it opaque, with the reason."""
    array = _read_array(file, 0, size)
    array, told = _held(array, size - array.offset)
    name, unit, family = "/array", "", "npy"
    if _is_of_open_ephys(path):
        name, family = f"/{plain_text(path.stem)}", "openephys"
        unit = "s" if path.stem == "timestamps" and array.dtype[1] == "f" else ""
    series = (array.series(name, unit=unit),) if array.is_sliceable else ()
    told = told if series else (*told, _NOT_SLICED)
    description = Description(family, series)
    metadata: dict[str, Scalar] = {"npy.shape": " x ".join(map(str, array.shape)) or "scalar", "npy.dtype": array.dtype}
    if array.bytes < MIN_ARRAY_BYTES:
        return Planned(covering(size, (), (), description=description), metadata, told)
    found = (ArraySegment(array.offset, array.bytes, 0),)
    return Planned(covering(size, found, (array.array_type(name),), description=description), metadata, told)


@opaque_if_refused("NumPy archive")
def plan_npz(file: BinaryIO, *, size: int, path: Path) -> Planned:
    """Plan a `.npz` file of `size` bytes: its uncompressed arrays are series, all else is opaque."""
    members = zip_members(file, size=size)
    told, arrays = [], []
    compressed = sum(member.start is None for member in members)
    if compressed:
        told.append(f"{compressed} of {len(members)} arrays are compressed and have no series")
    for member in members[:_MAX_ARRAYS]:
        try:
            arrays.append((member.name, _member_array(file, member)))
        except FormatError as error:
            told.append(f"member {plain_text(member.name)!r:.100} has no series: {error}")
    named = [(name, array) for name, array in arrays if array is not None]
    names = distinct(f"/{plain_text(name.removesuffix('.npy'))}" for name, _ in named)
    series = tuple(array.series(name) for name, (_, array) in zip(names, named, strict=True) if array.is_sliceable)
    if len(series) < len(named):
        told.append(_NOT_SLICED)
    large = [(name, array) for name, (_, array) in zip(names, named, strict=True) if array.bytes >= MIN_ARRAY_BYTES]
    types = tuple(array.array_type(name) for name, array in large)
    found = [ArraySegment(array.offset, array.bytes, index) for index, (_, array) in enumerate(large)]
    plan = covering(size, found, types, description=Description("npz", series))
    return Planned(plan, {"npz.members": len(members)}, tuple(told[:20]))


def _member_array(file: BinaryIO, member: Member) -> _Array | None:
    if member.start is None or not member.name.endswith(".npy"):
        return None
    array = _read_array(file, member.start, member.start + member.size)
    if array.offset + array.bytes != member.start + member.size:
        raise FormatError(f"its shape does not go with its {member.size} bytes")
    return array


def _is_of_open_ephys(path: Path) -> bool:
    try:
        return any((folder / "structure.oebin").is_file() for folder in path.absolute().parents[1:3])
    except (OSError, ValueError):
        return False


def _held(array: _Array, there: int) -> tuple[_Array, tuple[str, ...]]:
    """Return the part of the array of which `there` bytes exist, and sentences on what is missing or too much."""
    if array.bytes == there:
        return array, ()
    if array.bytes < there:
        return array, (f"{there - array.bytes} bytes behind the array are none of it",)
    row = array.row_elements * array.item
    if array.is_fortran or not array.shape or row == 0:
        raise FormatError("it is cut off, and its order lets no whole rows be told")
    held = replace(array, shape=(there // row, *array.shape[1:]))
    return held, (f"the file is cut off: of {array.shape[0]} rows {held.shape[0]} are there",)


def _read_array(file: BinaryIO, start: int, stop: int) -> _Array:
    """Read the header of the array that lies in `start` up to `stop`; raises `FormatError`."""
    if stop - start < 10:
        raise FormatError("it is too short for an array")
    head = read_at(file, start, 10, what="the header")
    if not head.startswith(_MAGIC) or head[6] not in (1, 2, 3):
        raise FormatError("it does not begin as NumPy's arrays do")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(read_at(file, start + 8, width, what="the header"), "little")
    offset = start + 8 + width + length
    if length > _MAX_HEADER or offset > stop:
        raise FormatError(f"its header of {length} bytes does not fit")
    text = read_at(file, start + 8 + width, length, what="the header").decode("latin-1" if head[6] < 3 else "utf-8")
    fields = _literal(text)
    shape, is_fortran = fields["shape"], fields["fortran_order"]
    if not isinstance(is_fortran, bool) or not isinstance(shape, tuple) or len(shape) > _MAX_AXES:
        raise FormatError("its header does not say its shape and its order")
    sizes = tuple(size for size in shape if type(size) is int and 0 <= size < 2**63)
    if len(sizes) != len(shape) or any(
        total >= 2**63 for total in accumulate(sizes, lambda a, b: a * max(b, 1), initial=1)
    ):
        raise FormatError("its shape is not one of an array")
    dtype, description = _dtype(fields["descr"])
    # An array of at most one axis is the same in both orders.
    is_fortran = is_fortran and len(sizes) > 1
    if is_fortran:
        description = f"{description} Fortran order: the axes are stored from the last to the first.".strip()
    return _Array(dtype, sizes, is_fortran, offset, description)


def _literal(text: str) -> Mapping[str, object]:
    try:
        fields = ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise FormatError("its header is not the text of a dictionary") from error
    if not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise FormatError("its header does not have the three fields of an array")
    return fields


def _dtype(descr: object) -> tuple[str, str]:
    """Return the element type in the format's words, and a sentence for one that is more than its bytes."""
    if not isinstance(descr, str | list):
        raise FormatError("its element type is none that can be stored")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dtype = np.lib.format.descr_to_dtype(cast(Any, descr))
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        SyntaxError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise FormatError("its element type is none that NumPy knows") from error
    if dtype.hasobject or not 1 <= dtype.itemsize <= _MAX_ITEM:
        raise FormatError(f"its elements are {plain_text(str(dtype))!r:.100}, which are no bytes of a fixed length")
    text = dtype.str
    if dtype.names is None and dtype.subdtype is None and (text[1:] in _KNOWN or dtype.kind == "S"):
        return text, ""
    return f"|V{dtype.itemsize}", f"Elements are {plain_text(str(dtype))[:400]}."
