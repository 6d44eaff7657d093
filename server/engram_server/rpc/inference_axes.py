"""Between the axes of a network, which clients of the Open Inference Protocol send, and those of our own calls.

Ours are (step, mind, *step_shape) for stimuli and responses and (mind, *step_shape) for states, whatever order the network
has them in; an axis that the network does not have is of length 1 with us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput
from engram_replay.contract import Contract, Port


def to_steps(port: Port, array: AnyArray) -> AnyArray:
    """Return a tensor with the network's axes as (step, mind, *step_shape); no value is copied."""
    return _moved(array, from_axes=(port.time_axis, port.minds_axis))


def from_steps(port: Port, array: AnyArray) -> AnyArray:
    """Return (step, mind, *step_shape) with the network's axes.

    Raises `InvalidInput` where the network has no axis for the several steps or minds that there are.
    """
    return _moved_back(port, array, to_axes=(port.time_axis, port.minds_axis))


def from_state(port: Port, array: AnyArray) -> AnyArray:
    """Return the state of a session, (mind, *step_shape), with the network's axes."""
    return _moved_back(port, array, to_axes=(port.minds_axis,))


def steps_and_minds(ports: Sequence[Port], tensors: Mapping[str, AnyArray]) -> tuple[int, int]:
    """Return how many steps and minds the tensors of these ports have, both 1 if there are none.

    Raises `InvalidInput` if they do not agree.
    """
    sizes = {port.name: to_steps(port, tensors[port.name]).shape[:2] for port in ports if port.name in tensors}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name!r} {steps} and {minds}" for name, (steps, minds) in sizes.items())
        raise InvalidInput(f"the inputs have different numbers of steps and minds ({told}): give all the same")
    steps, minds = next(iter(sizes.values()), (1, 1))
    return steps, minds


def zero_states(contract: Contract, tensors: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
    """Return zeros for the states that are not among the tensors, with the network's axes.

    The axis of minds and those with a symbol are as long as in the tensors; other free axes are of length 1.
    """
    _, minds = steps_and_minds(contract.stimuli, tensors)
    lengths = symbols((*contract.stimuli, *contract.states), tensors)
    missing = [port for port in contract.states if port.name not in tensors]
    return {port.name: np.zeros(_state_shape(port, lengths, minds=minds), port.dtype) for port in missing}


def symbols(ports: Sequence[Port], tensors: Mapping[str, AnyArray]) -> Mapping[str, int]:
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


def _state_shape(port: Port, lengths: Mapping[str, int], *, minds: int) -> tuple[int, ...]:
    return tuple(
        length if isinstance(length, int) else minds if axis == port.minds_axis else lengths.get(length or "", 1)
        for axis, length in enumerate(port.shape)
    )


def _moved(array: AnyArray, *, from_axes: tuple[int | None, ...]) -> AnyArray:
    there = [axis for axis in from_axes if axis is not None]
    moved = np.moveaxis(array, there, range(len(there)))
    missing = tuple(place for place, axis in enumerate(from_axes) if axis is None)
    return np.expand_dims(moved, missing)


def _moved_back(port: Port, array: AnyArray, *, to_axes: tuple[int | None, ...]) -> AnyArray:
    missing = tuple(place for place, axis in enumerate(to_axes) if axis is None)
    if any(array.shape[place] != 1 for place in missing):
        raise InvalidInput(
            f"{port.name!r} has no axis for the {array.shape[: len(to_axes)]} steps and minds of this request: "
            "send one step and one mind at a time"
        )
    there = [axis for axis in to_axes if axis is not None]
    return np.moveaxis(np.squeeze(array, axis=missing), range(len(there)), there)
