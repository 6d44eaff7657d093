"""How alike two runs of one replay are: to the bit, within a bound, or not. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from engram_format.catalog import Alteration, AnyArray, Likeness, Metadata, OutputLikeness
from engram_replay.execution import PROFILE_PREFIX

RELATIVE_BOUND: Final = 1e-5
"""The largest difference that counts as alike, in parts of the root mean square of what was kept.

Releases of the runtime, thread counts and forms of execution were measured to differ by up to 5e-6 on typical students, whose
outputs have a root mean square near 1; a student that is chaotic diverges beyond any bound, and fails."""
REFERENCE_BOUND: Final = 1e-4
"""The same for the reference evaluator: NumPy rounds sums in another order than the runtime."""


def compare(
    kept: Mapping[str, AnyArray], again: Mapping[str, AnyArray], *, relative_bound: float = RELATIVE_BOUND
) -> tuple[OutputLikeness, ...]:
    """Compare outputs by name, those of `kept` first.

    An output is `bit` where type, shape and every bit are equal, gaps (NaN) included; `tolerance` where type, shape and gaps
    are equal and no value differs by more than `relative_bound` times the root mean square of what was kept; else `fail`.
    """
    names = [*kept, *(name for name in again if name not in kept)]
    return tuple(_compare_one(name, kept.get(name), again.get(name), relative_bound) for name in names)


def worst(outputs: tuple[OutputLikeness, ...]) -> Likeness:
    """Return the worst of several outputs; without any, nothing has been shown."""
    for likeness in (Likeness.FAIL, Likeness.TOLERANCE):
        if any(output.likeness is likeness for output in outputs):
            return likeness
    return Likeness.BIT if outputs else Likeness.FAIL


def profile_differences(kept: Metadata, again: Metadata) -> tuple[Alteration, ...]:
    """Return the parts of the execution profile that differ; what only one of both knows counts too."""
    names = sorted(name for name in {*kept, *again} if name.startswith(PROFILE_PREFIX))
    return tuple(
        Alteration(name, _text(kept.get(name)), _text(again.get(name)))
        for name in names
        if kept.get(name) != again.get(name)
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _compare_one(name: str, kept: AnyArray | None, again: AnyArray | None, relative_bound: float) -> OutputLikeness:
    if kept is None or again is None:
        gone = "is not in what was kept" if kept is None else "is not in what was run again"
        return OutputLikeness(name, Likeness.FAIL, 0.0, math.inf, 0.0, f"output {name!r} {gone}")
    rms = _rms(kept)
    bound = relative_bound * rms
    if kept.dtype != again.dtype or kept.shape != again.shape:
        said = f"{kept.dtype} {kept.shape} was kept, and {again.dtype} {again.shape} came again"
        return OutputLikeness(name, Likeness.FAIL, bound, math.inf, rms, said)
    if kept.tobytes() == again.tobytes():
        return OutputLikeness(name, Likeness.BIT, bound, 0.0, rms)
    largest, where = _largest_difference(kept, again)
    likeness = Likeness.TOLERANCE if largest <= bound else Likeness.FAIL
    return OutputLikeness(name, likeness, bound, largest, rms, f"the largest difference is at {where}")


def _rms(array: AnyArray) -> float:
    """Return the root mean square of the finite values."""
    values = array.astype(np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    return math.sqrt(float(np.mean(values * values))) if values.size else 0.0


def _largest_difference(kept: AnyArray, again: AnyArray) -> tuple[float, tuple[int, ...]]:
    """Return the largest difference and its index; infinite where one has a gap or an infinity and the other has not."""
    first, second = kept.astype(np.float64), again.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(first - second))
    difference = np.where(np.isnan(difference), math.inf, difference)
    at = np.unravel_index(int(np.argmax(difference)), difference.shape)
    return float(difference[at]), tuple(int(index) for index in at)
