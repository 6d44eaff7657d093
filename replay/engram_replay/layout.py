"""From a contract's order of axes, (step, mind, *step_shape), to the network's own, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engram_format.catalog import AnyArray
from engram_replay.contract import Port


@dataclass(frozen=True, slots=True)
class Layout:
    """How one port's axes are ordered in the network."""

    has_time: bool
    has_minds: bool
    to_network: tuple[int, ...]
    """For each axis of the network, the axis of the contract's array without those that the network has not."""
    to_contract: tuple[int, ...]
    """The inverse."""
    minds_axis: int | None

    @classmethod
    def of(cls, port: Port, *, is_state: bool = False) -> Layout:
        """Return the layout of a port; a state has no axis of time."""
        time = None if is_state else port.time_axis
        order = [axis for axis in (time, port.minds_axis) if axis is not None]
        order += [axis for axis in range(len(port.shape)) if axis not in order]
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return cls(time is not None, port.minds_axis is not None, tuple(inverse), tuple(order), port.minds_axis)

    def into_network(self, array: AnyArray) -> AnyArray:
        """Order the axes as the network does; the array has only the axes of step and mind that the network has."""
        return array if _is_in_order(self.to_network) else np.ascontiguousarray(array.transpose(self.to_network))

    def into_contract(self, array: AnyArray) -> AnyArray:
        """Order the axes as the contract does, time before minds before the rest."""
        return array if _is_in_order(self.to_contract) else np.ascontiguousarray(array.transpose(self.to_contract))


def _is_in_order(axes: tuple[int, ...]) -> bool:
    return axes == tuple(range(len(axes)))
