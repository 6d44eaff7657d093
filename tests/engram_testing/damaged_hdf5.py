"""Damage an HDF5 file many times and compare the series that are still found with what HDF5 still reads.

Run as a program of its own (`python damaged_hdf5.py FILE FIRST COUNT`), for HDF5 itself may crash on such a file. Prints one
line a damage: its number, how many series were compared, and `wrong` with a name where one differs.
"""

from __future__ import annotations

import io
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
from engram_testing.series_bytes import UnknownFilterError, array_of, raw_bits

from engram_layout.hdf5 import plan_hdf5

UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError, OverflowError)


def damaged(data: bytes, seed: int) -> bytes:
    """Return the file with some bits or bytes changed, or cut; mostly in the first 8 KiB, where the metadata is."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    reach = len(data) if seed % 4 == 0 else min(len(data), 8192)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, reach))
        changed[at] = changed[at] ^ (1 << int(rng.integers(0, 8))) if seed % 2 else int(rng.choice([0, 1, 255, 128]))
    return bytes(changed[: int(rng.integers(0, len(data)))] if seed % 16 == 0 else changed)


def compared(data: bytes) -> tuple[int, str]:
    """Return how many series hold what HDF5 reads, and the name of one that does not."""
    description = plan_hdf5(io.BytesIO(data), size=len(data)).plan.description
    equal = 0
    for series in description.series if description else ():
        name = series.info.name
        try:
            with h5py.File(io.BytesIO(data), "r") as file:
                dataset = file[name] if isinstance(file[name], h5py.Dataset) else file[f"{name}/data"]
                if dataset.nbytes > 2**26:
                    continue
                wanted = raw_bits(dataset)
        except UNREADABLE:
            continue
        try:
            found = array_of(series, data).tobytes()
        except (UnknownFilterError, zlib.error, ValueError):
            continue  # Refused, and so not a wrong number.
        if found != wanted:
            return equal, name
        equal += 1
    return equal, ""


def main() -> None:
    """Damage and compare."""
    data, first, count = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
    for seed in range(first, first + count):
        equal, wrong = compared(damaged(data, seed))
        sys.stdout.write(f"{seed} {equal} {'wrong ' + wrong if wrong else ''}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
