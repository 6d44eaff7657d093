"""Arrays by name as one file, and the digests by which a receipt names them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Final

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput

_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)
_ZIP_UNIX: Final = 3


def digest_array(array: AnyArray) -> str:
    """Return the digest that names an array by its type, its shape and its values, 64 hex digits.

    SHA-256 over one ASCII line and the values. The line is `engram-array <dtype> <shape>` and a line feed: dtype is NumPy's
    name of the type without byte order (`float32`, `int64`, `bool`), shape the lengths of the axes in decimal, joined by
    commas and empty for a scalar. The values follow in C order, little-endian, booleans as one byte.
    """
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    line = f"engram-array {array.dtype.name} {','.join(map(str, array.shape))}\n"
    sha256 = hashlib.sha256(line.encode("ascii"))
    sha256.update(little.tobytes())
    return sha256.hexdigest()


def digest_arrays(arrays: Mapping[str, AnyArray]) -> str:
    """Return the digest of arrays by name, 64 hex digits; the order of the mapping does not count.

    SHA-256 over ASCII lines, each ended by a line feed: `engram-arrays <count>`, and then for each array, sorted by the code
    points of its name, `<digest_array> <name>` with the name as a JSON string in which all but ASCII is escaped.
    """
    lines = [f"engram-arrays {len(arrays)}"]
    lines += [f"{digest_array(arrays[name])} {json.dumps(name)}" for name in sorted(arrays)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("ascii")).hexdigest()


def encode_npz(arrays: Mapping[str, AnyArray]) -> bytes:
    """Return the arrays as a `.npz` file that `numpy.load` reads; the same arrays give the same bytes.

    Entries are sorted by name, stored without compression, dated 1980-01-01, and hold little-endian values in C order.
    """
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            if not name or "\0" in name:
                raise InvalidInput(f"an array cannot be saved under the name {name!r}: name the network's outputs")
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_DATE)
            entry.create_system = _ZIP_UNIX
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, _encode_npy(arrays[name]))
    return sink.getvalue()


def _encode_npy(array: AnyArray) -> bytes:
    sink = io.BytesIO()
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    np.lib.format.write_array(sink, little, version=(1, 0), allow_pickle=False)
    return sink.getvalue()
