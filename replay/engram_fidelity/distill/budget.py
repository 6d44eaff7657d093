"""How many updates a training takes: so many by default, at most what fits in a given time, or exactly so many as were asked for.

Seconds depend on what else a machine does, so a training is repeated by its number of updates. With a time given, the pace of
the first updates tells how many fit. Until then nothing may depend on how many there will be, so the steps of `pace` rise
first, over `WARM_UP` updates, and only then fall towards the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engram_format.errors import InvalidInput

WARM_UP: Final = 50
"""Updates over which steps grow, and after which the pace is measured."""
_UNMEASURED: Final = 5
"""First updates, which are slower than the others, since memory is new to them."""
_MARGIN: Final = 0.85
"""The share of the time left that updates may fill; the rest is for validation, calibration and writing."""
_MAX_UPDATES: Final = 10_000_000

Progress = Callable[[int, int, float], None]
"""Is told the updates made, how many there will be (0 until it is known), and the last loss on the validation trials."""


def no_progress(_made: int, _total: int, _loss: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a training may be."""

    updates: int
    """The most updates."""
    seconds: float | None = None
    """The most time, from the beginning of the training; `None` for as long as it takes."""

    @classmethod
    def of(cls, default: int, *, updates: int | None, seconds: float | None) -> Budget:
        """Return the budget of a tier that makes `default` updates; raises `InvalidInput` for numbers that are none.

        Given `updates` are made exactly, whatever time they take.
        """
        if updates is not None:
            if not 1 <= updates <= _MAX_UPDATES:
                raise InvalidInput(f"{updates} updates are no training: ask for 1 to {_MAX_UPDATES:,}")
            return cls(updates)
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise InvalidInput(f"a budget of {seconds} s is none: give a positive number of seconds")
        return cls(default, seconds)


class Pacer:
    """Counts updates and plans how many there will be; begins when it is made."""

    def __init__(self, budget: Budget, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._began = clock()
        self._measured_from = self._began
        self._made = 0
        self._total: int | None = None if self._may_be_cut else budget.updates

    @property
    def _may_be_cut(self) -> bool:
        return self._budget.seconds is not None and self._budget.updates > WARM_UP

    @property
    def made(self) -> int:
        """Updates made."""
        return self._made

    @property
    def total(self) -> int:
        """How many updates there will be; 0 until it is known."""
        return self._total or 0

    @property
    def done(self) -> bool:
        """Whether the last update was made."""
        return self._total is not None and self._made >= self._total

    def count(self) -> None:
        """Count an update; after the first `WARM_UP`, plan."""
        self._made += 1
        if self._total is not None:
            return
        if self._made == _UNMEASURED:
            self._measured_from = self._clock()
        if self._made == WARM_UP:
            self._total = self._planned(self._clock())

    def _planned(self, now: float) -> int:
        seconds = self._budget.seconds or 0.0
        each = (now - self._measured_from) / (WARM_UP - _UNMEASURED)
        left = _MARGIN * (seconds - (now - self._began))
        if each <= 0:
            return self._budget.updates
        return min(self._budget.updates, WARM_UP + max(0, math.floor(left / each)))

    def step(self) -> float:
        """Return the length of the next update's step, 0 to 1: it grows linearly, then falls as half a cosine to 1/100."""
        if self._made < WARM_UP:
            return (self._made + 1) / WARM_UP
        along = (self._made - WARM_UP) / max(self.total - WARM_UP, 1)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along))
