"""Arrays as bytes: what a replay takes (`.npy`, `.npz`), what it gives (`.npz`), and the digests by which both are named.

Bytes come from outside and are not trusted: nothing is unpickled, no length is believed before it is bounded, and what is
malformed is refused in one sentence.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from engram_format.arrays import digest_array, digest_arrays, encode_npz
from engram_format.catalog import AnyArray
from engram_format.errors import Exhausted, InvalidInput

ONLY_STIMULUS = ""
"""The name that stands for a student's only stimulus."""

_MAX_ENTRIES = 256
_NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADER = re.compile(
    r"\{'descr': '(?P<descr>[<>|=][biuf][0-9]{1,2})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:[0-9]{1,18}(?:, ?|(?=\))))*)\),? ?\} *\n?"
)
_ZIP_ENCRYPTED = 0x1

_MAX_HEADER_BYTES = 16 * 1024
_MAX_AXES = 64


def check_finite(name: str, array: AnyArray) -> None:
    """Raise `InvalidInput` where an array holds NaN or infinity."""
    if array.dtype.kind != "f":
        return
    # A sum is finite only where all of its parts are; one that is not may just be too large.
    total = np.add.reduce(array, axis=None)
    if not (math.isfinite(total) or np.isfinite(array).all()):
        raise InvalidInput(f"the array for input {name!r} holds NaN or infinity: fill the gaps, or allow them")


def decode_stimulus(data: bytes, *, max_bytes: int = 1 << 30) -> Mapping[str, AnyArray]:
    """Read a stimulus: the arrays of a `.npz` by name, or the one array of a `.npy` under `ONLY_STIMULUS`.

    Raises `InvalidInput` if it is neither, is cut off, or holds other things than booleans and real numbers, and
    `Exhausted` if the arrays say that they have more than `max_bytes` together; nothing larger is ever allocated.
    """
    if data.startswith(_NPY_MAGIC):
        if len(data) > max_bytes:
            raise _too_large(len(data), max_bytes=max_bytes)
        return {ONLY_STIMULUS: _decode_npy(data, what="the stimulus")}
    try:
        return _decode_npz(data, max_bytes=max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise InvalidInput(
            f"the stimulus of {len(data)} bytes is neither a .npy nor a whole .npz file ({error}): save it with numpy"
        ) from error


def _decode_npz(data: bytes, *, max_bytes: int) -> Mapping[str, AnyArray]:
    arrays: dict[str, AnyArray] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if not 1 <= len(entries) <= _MAX_ENTRIES:
            raise InvalidInput(f"the stimulus holds {len(entries)} arrays: give 1 to {_MAX_ENTRIES}")
        # The sizes are what the directory declares, and reading stops there, whatever the compressed bytes would give.
        declared = sum(entry.file_size for entry in entries)
        if declared > max_bytes:
            raise _too_large(declared, max_bytes=max_bytes)
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in arrays or not name or name == entry.filename:
                raise InvalidInput(f"the stimulus holds {entry.filename!r}: a .npz has named .npy arrays, each once")
            if entry.flag_bits & _ZIP_ENCRYPTED or entry.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise InvalidInput(
                    f"array {name!r} of the stimulus is packed in an unknown way: save it with numpy.savez"
                )
            arrays[name] = _decode_npy(archive.read(entry), what=f"array {name!r} of the stimulus")
    return arrays


def _decode_npy(data: bytes, *, what: str) -> AnyArray:
    """Read a `.npy` file of version 1 or 2; its header must have the form that NumPy writes, so it is never evaluated."""
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(data[6:8])
    if not data.startswith(_NPY_MAGIC) or width is None:
        raise InvalidInput(f"{what} is no .npy array of version 1 or 2: save it with numpy.save")
    start = 8 + width
    stop = start + int.from_bytes(data[8:start], "little")
    if stop - start > _MAX_HEADER_BYTES:
        raise InvalidInput(f"{what} has a header of {stop - start} bytes: save it with numpy.save")
    header = _NPY_HEADER.fullmatch(data[start:stop].decode("latin-1"))
    if header is None:
        raise InvalidInput(
            f"{what} has a header that describes no array of numbers: save a numeric array with numpy.save"
        )
    try:
        dtype = np.dtype(header["descr"])
    except TypeError as error:
        raise InvalidInput(f"{what} has values of an unknown type {header['descr']!r}: save it as float32") from error
    shape = tuple(int(length) for length in re.findall(r"[0-9]{1,20}", header["shape"]))
    if len(shape) > _MAX_AXES or any(length >= 2**63 for length in shape):
        raise InvalidInput(f"{what} has an impossible shape: save it with numpy.save")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - stop != expected:
        raise InvalidInput(
            f"{what} is cut off or too long: its header announces {expected} bytes of values, {max(len(data) - stop, 0)} follow"
        )
    values = np.frombuffer(data[stop:], dtype=dtype) if expected else np.empty(0, dtype)
    if dtype.kind == "b":
        values = values.view(np.uint8) != 0  # any byte may stand in a file, only 0 and 1 in an array
    try:
        return values.reshape(shape, order="F" if header["fortran"] == "True" else "C")
    except ValueError as error:
        raise InvalidInput(f"{what} has an impossible shape {shape}: save it with numpy.save") from error


def _too_large(size: int, *, max_bytes: int) -> Exhausted:
    return Exhausted(f"the stimulus has {size} bytes and at most {max_bytes} may be replayed at once: cut it in parts")


__all__ = ["ONLY_STIMULUS", "AnyArray", "decode_stimulus", "digest_array", "digest_arrays", "encode_npz"]
