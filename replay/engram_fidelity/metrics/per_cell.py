"""One number for each cell, and what is said of all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engram_fidelity.metrics.inputs import Floats


@dataclass(frozen=True, slots=True, eq=False)
class PerCell:
    """A measure of each cell, (cell,), NaN where it is undefined. What is said of all leaves those out: see `dropped`."""

    values: Floats

    @classmethod
    def of(cls, values: Iterable[float]) -> PerCell:
        """Take one number a cell."""
        return cls(np.array(list(values), dtype=np.float64))

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
