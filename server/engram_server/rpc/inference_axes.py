"""Between the axes of a network, which clients of the Open Inference Protocol send, and those of our own calls.

Ours are (step, mind, *step_shape) for stimuli and responses and (mind, *step_shape) for states, whatever order the network
has them in; an axis that the network does not have is of length 1 with us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput
from engram_replay.contract import Port
from engram_replay.layout import Layout


@dataclass(frozen=True, slots=True)
class Axes:
    """A port, and how its axes are ordered in the network."""

    port: Port
    layout: Layout

    @classmethod
    def of(cls, port: Port, *, is_state: bool = False) -> Self:
        """Return the axes of a port; a state has no axis of time."""
        return cls(port, Layout.of(port, is_state=is_state))

    def steps_and_minds(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return how many steps and minds a tensor of this shape, in the network's order, has."""
        time, minds = self.port.time_axis, self.port.minds_axis
        return 1 if time is None else shape[time], 1 if minds is None else shape[minds]

    def to_steps(self, array: AnyArray) -> AnyArray:
        """Return a tensor with the network's axes as (step, mind, *step_shape)."""
        ours = self.layout.into_contract(array)
        if not self.layout.has_time:
            ours = ours[np.newaxis]
        return ours if self.layout.has_minds else ours[:, np.newaxis]

    def from_steps(self, array: AnyArray) -> AnyArray:
        """Return (step, mind, *step_shape) with the network's axes.

        Steps or minds that the network has no axis for are one; more than one is refused with `InvalidInput`.
        """
        ours = array if self.layout.has_minds else self._only(array, 1)
        return self.layout.into_network(ours if self.layout.has_time else self._only(ours, 0))

    def from_state(self, array: AnyArray) -> AnyArray:
        """Return the state of a session, (mind, *step_shape), with the network's axes."""
        return self.layout.into_network(array if self.layout.has_minds else self._only(array, 0))

    def _only(self, array: AnyArray, axis: int) -> AnyArray:
        if array.shape[axis] != 1:
            raise InvalidInput(
                f"{self.port.name!r} has no axis for {array.shape[axis]} steps or minds: send one at a time"
            )
        return np.squeeze(array, axis)


def steps_and_minds(stimuli: Iterable[Axes], tensors: Mapping[str, AnyArray]) -> tuple[int, int]:
    """Return how many steps and minds the tensors of all stimuli have; raises `InvalidInput` if they do not agree."""
    sizes = {axes.port.name: axes.steps_and_minds(tensors[axes.port.name].shape) for axes in stimuli}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name!r} {steps} and {minds}" for name, (steps, minds) in sizes.items())
        raise InvalidInput(f"the inputs have different numbers of steps and minds ({told}): give all the same")
    return next(iter(sizes.values()))


def check_symbols(ports: Iterable[Port], tensors: Mapping[str, AnyArray]) -> Mapping[str, int]:
    """Return how long the axes with a symbol are; raises `InvalidInput` for a symbol with two lengths."""
    lengths: dict[str, int] = {}
    for port in ports:
        if port.name not in tensors:
            continue
        for symbol, length in zip(port.shape, tensors[port.name].shape, strict=True):
            if isinstance(symbol, str) and lengths.setdefault(symbol, length) != length:
                raise InvalidInput(
                    f"axis {symbol!r} is {lengths[symbol]} long in one input and {length} in {port.name!r}: "
                    "give it one length"
                )
    return lengths


def zero_state(port: Port, symbols: Mapping[str, int], *, minds: int) -> AnyArray:
    """Return the state at rest of so many minds, with the network's axes.

    Axes with a symbol are as long as in the inputs, other free axes of length 1.
    """
    shape = [
        length if isinstance(length, int) else minds if axis == port.minds_axis else symbols.get(length or "", 1)
        for axis, length in enumerate(port.shape)
    ]
    return np.zeros(shape, port.dtype)
