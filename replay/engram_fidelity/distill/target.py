"""The hardware that a student is to run on, which its width and the levels of its weights follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engram_format.errors import InvalidInput

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of hardware."""

    name: str
    gru: int
    """Units of a recurrent layer."""
    layer: int
    """Units of a hidden layer of the tier `fast`."""
    levels: int | None = None
    """Levels of a weight, odd, with zero among them; `None` for float32."""
    about: str = ""

    def held(self, weights: Mapping[str, F32], *, rows: Mapping[str, int]) -> dict[str, F32]:
        """Return the weights as this hardware holds them.

        `rows` names the matrices that it multiplies by, and the axis along which the weights of one unit lie. Whatever else
        there is (biases, scales) lies outside of a crossbar, and stays.
        """
        levels = self.levels
        if levels is None:
            return dict(weights)
        return {name: quantised(one, levels, axis=rows[name]) if name in rows else one for name, one in weights.items()}


CPU_STREAM: Final = Target("cpu-stream", gru=64, layer=64, about="one mind, bin by bin, on one core")
BATCH: Final = Target(
    "batch", gru=96, layer=128, about="many minds a call: wider, since calls cost less than their number"
)
CROSSBAR_32: Final = Target(
    "crossbar-32", gru=64, layer=64, levels=31, about="a pair of conductances a weight, 31 signed levels in each row"
)
TARGETS: Final = {target.name: target for target in (CPU_STREAM, BATCH, CROSSBAR_32)}


def target_named(name: str | None) -> Target:
    """Return a target by its name, `cpu-stream` without one; raises `InvalidInput` for another name."""
    if name is None:
        return CPU_STREAM
    if name not in TARGETS:
        raise InvalidInput(f"there is no target {name[:80]!r}: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def quantised(weights: F32, levels: int, *, axis: int) -> F32:
    """Return a matrix whose entries are multiples of each row's greatest, by 2 / (levels - 1); rows lie along `axis`.

    Every entry moves by at most half a level. A matrix that is so already comes back as it is, but for the last digit.
    """
    half = np.float32((levels - 1) // 2)
    greatest = np.abs(weights).max(axis=axis, keepdims=True)
    scale = np.divide(half, greatest, out=np.zeros_like(greatest), where=greatest > 0)
    return np.asarray(np.rint(weights * scale) * (greatest / half), np.float32)
