"""Whether numbers of one type are numbers of another one too. Pure."""

from __future__ import annotations

import numpy as np

from engram_format.catalog import AnyArray


def holds_exactly(array: AnyArray, dtype: np.dtype[np.generic]) -> bool:
    """Say whether every value of an array of numbers is a value of `dtype` too.

    A gap (NaN) is one in every type with a binary fraction, and infinity likewise.
    """
    rounds = array.dtype.kind in "iu" and dtype.kind == "f"  # which NumPy calls safe for 64 bits
    if array.size == 0 or (not rounds and np.can_cast(array.dtype, dtype, "safe")):
        return True
    if dtype.kind == "f":
        return _fit_float(array, np.dtype(dtype.name))
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (np.trunc(array) == array).all()):
        return False
    # Compared as Python's whole numbers, which have no bounds of their own.
    low, high = int(array.min()), int(array.max())
    bounds = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype.name).min, np.iinfo(dtype.name).max)
    return bool(bounds[0] <= low and high <= bounds[1])


def _fit_float(array: AnyArray, dtype: np.dtype[np.generic]) -> bool:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        if array.dtype.kind == "f":
            return bool(np.array_equal(cast.astype(array.dtype), array, equal_nan=True))
    exact = 1 << (np.finfo(dtype.name).nmant + 1)
    beyond = np.greater(array, exact) | np.less(array, -exact)
    if not beyond.any():
        return True
    # The way back is not NumPy's: what has no place in the type becomes another number, on each machine its own.
    pairs = zip(array[beyond].tolist(), cast[beyond].tolist(), strict=True)
    return all(float_ not in (float("inf"), float("-inf")) and int(float_) == whole for whole, float_ in pairs)
