"""What every measure takes in: counts and expected counts, refused in one sentence where they cannot be that."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engram_format.errors import InvalidInput

Floats = NDArray[np.float64]


def numbers(array: ArrayLike, name: str, *axes: str) -> Floats:
    """Return a copy-free float64 view where possible, with exactly the named axes (none named: any).

    Raises `InvalidInput` for another number of axes, an empty one, NaN or infinity.
    """
    try:
        values = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the {name} are not numbers in a rectangular array: bring one array of numbers") from error
    if axes and values.ndim != len(axes):
        raise InvalidInput(f"the {name} have the shape {values.shape}: bring ({', '.join(axes)})")
    if 0 in values.shape:
        raise InvalidInput(f"the {name} have the shape {values.shape}, which is empty: leave them out")
    if not np.isfinite(values).all():
        raise InvalidInput(f"the {name} hold NaN or infinity: mend them, or leave that part out")
    return values


def not_negative(array: ArrayLike, name: str, *axes: str) -> Floats:
    """Return `numbers` of which none is below zero; raises `InvalidInput` otherwise."""
    values = numbers(array, name, *axes)
    if (values < 0).any():
        raise InvalidInput(f"the {name} hold {values.min():g}: what is counted or expected per bin is never negative")
    return values


def fitting(array: ArrayLike, name: str, shape: tuple[int, ...]) -> Floats:
    """Return `not_negative` numbers stretched to `shape` by numpy's rules; raises `InvalidInput` where they do not fit."""
    values = not_negative(array, name)
    try:
        return np.broadcast_to(values, shape)
    except ValueError as error:
        raise InvalidInput(
            f"the {name} have the shape {values.shape} where the counts have {shape}: bring them for the same bins and cells"
        ) from error


def at_least(value: int, least: int, name: str) -> int:
    """Return a whole number that is not below `least`; raises `InvalidInput` for one that is."""
    if value < least:
        raise InvalidInput(f"{name} of {value} is too few: give at least {least}")
    return value
