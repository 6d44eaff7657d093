"""One number for each cell, and what is said of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engram_fidelity.metrics.inputs import Floats, numbers
from engram_format.errors import InvalidInput


@dataclass(frozen=True, slots=True, eq=False)
class PerCell:
    """A measure of each cell, (cell,), NaN where it is undefined. What is said of all leaves those out: see `dropped`."""

    values: Floats

    @classmethod
    def of(cls, values: Iterable[float]) -> PerCell:
        """Take one number a cell."""
        return cls(np.array(list(values), dtype=np.float64))

    @classmethod
    def each(cls, metric: Callable[..., float], counts: ArrayLike, *others: ArrayLike) -> PerCell:
        """Apply a measure of one cell to each: counts (repeat, time, cell), and what else it takes, (..., cell) too.

        Raises `InvalidInput` where these are not of the same cells, and what the measure raises.
        """
        arrays = [numbers(array, "arrays") for array in (counts, *others)]
        if len({array.shape[-1:] for array in arrays}) > 1:
            raise InvalidInput(
                f"the arrays have the shapes {[array.shape for array in arrays]}: bring them for the same cells"
            )
        return cls.of(metric(*(array[..., cell] for array in arrays)) for cell in range(arrays[0].shape[-1]))

    @property
    def defined(self) -> Floats:
        """The numbers that are."""
        return self.values[~np.isnan(self.values)]

    @property
    def dropped(self) -> int:
        """In how many cells the measure is undefined."""
        return int(np.isnan(self.values).sum())

    @property
    def mean(self) -> float:
        """The mean over cells; NaN if none is defined."""
        return float(self.defined.mean()) if len(self.defined) else np.nan

    @property
    def worst(self) -> float:
        """The smallest; NaN if none is defined."""
        return float(self.defined.min()) if len(self.defined) else np.nan

    @property
    def tenth_percentile(self) -> float:
        """What nine cells in ten reach (linear between neighbours); NaN if none is defined."""
        return float(np.percentile(self.defined, 10)) if len(self.defined) else np.nan
