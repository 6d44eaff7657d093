"""The two content-defined chunkers of the Python package index on the same bytes: speed, and whether threads help.

python bench/chunking.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastcdc import fastcdc
from pyfastcdc import FastCDC

MEBIBYTE = 2**20
ROUNDS = 5


def cut_with_pyfastcdc(data: bytes) -> int:
    """Cut with `pyfastcdc`; return the count of chunks."""
    cutter = FastCDC(MEBIBYTE // 2, min_size=MEBIBYTE // 2, max_size=4 * MEBIBYTE)
    return sum(1 for _ in cutter.cut_buf(data))


def cut_with_fastcdc(data: bytes) -> int:
    """Cut with `fastcdc`; return the count of chunks."""
    return sum(1 for _ in fastcdc(data, min_size=MEBIBYTE // 2, avg_size=MEBIBYTE, max_size=4 * MEBIBYTE))


def megabytes_per_s(cut: Callable[[bytes], int], data: bytes, *, threads: int) -> float:
    """Return the median speed of `threads` threads that each cut `data`."""
    speeds = []
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(cut, [data] * threads))
            speeds.append(threads * len(data) / 1e6 / (time.perf_counter() - start))
    return statistics.median(speeds)


def main() -> None:
    """Print the table."""
    data = np.random.default_rng(0).bytes(128 * MEBIBYTE)
    for name, cut in (("pyfastcdc", cut_with_pyfastcdc), ("fastcdc", cut_with_fastcdc)):
        one, two = (megabytes_per_s(cut, data, threads=threads) for threads in (1, 2))
        print(f"{name:10} {one:6.0f} MB/s, two threads {two:6.0f} MB/s, x{two / one:.2f}, {cut(data)} chunks")


if __name__ == "__main__":
    main()
