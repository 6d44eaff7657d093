"""What minds of a student take and give, as every door shows it, and stimuli brought into that form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from engram_format.catalog import AnyArray
from engram_format.errors import InvalidInput
from engram_format.exactness import holds_exactly

PortRole = Literal["stimulus", "noise", "constant", "state", "response"]

ONLY_PORT: Final = ""
"""The name that stands for a student's only stimulus."""


@dataclass(frozen=True, slots=True)
class MindPort:
    """One input or response of a student, or one of its states."""

    name: str
    """The network's name of it; of a state the name of the input."""
    role: PortRole
    dtype: np.dtype[np.generic]
    step_shape: tuple[int | str | None, ...]
    """What one mind takes or gives in one step: lengths, or a symbol or `None` where an axis is free."""
    unit: str = ""
    channels: tuple[str, ...] = ()
    """Names of the entries of the last axis; empty where they have none."""
    distribution: str = "continuous"
    """What the values of a response are parameters of: `continuous`, `rate` or `bernoulli`."""

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The step shape where all its lengths are known, else `None`."""
        lengths = tuple(length for length in self.step_shape if isinstance(length, int))
        return lengths if len(lengths) == len(self.step_shape) else None

    @property
    def step_bytes(self) -> int | None:
        """Bytes that one mind takes or gives in one step; `None` where an axis is free."""
        shape = self.fixed_shape
        return None if shape is None else math.prod(shape) * self.dtype.itemsize

    def __str__(self) -> str:
        lengths = ", ".join("?" if length is None else str(length) for length in ("step", "mind", *self.step_shape))
        return f"{self.name!r} {self.dtype.name} ({lengths})"


@dataclass(frozen=True, slots=True)
class Perturbation:
    """Small changes of the states with which minds begin, each mind its own; the same seed gives the same changes."""

    seed: int
    scale: float | None = None
    """How large they are; `None` for the default."""


def check_seed(seed: int) -> None:
    """Raise `InvalidInput` for what is no seed of a sampler."""
    if not 0 <= seed < 1 << 63:
        raise InvalidInput(f"the seed {seed} cannot be kept: give an integer from 0 to 2^63 - 1")


def named(stimulus: Mapping[str, AnyArray], ports: Sequence[MindPort]) -> Mapping[str, AnyArray]:
    """Return the arrays of a stimulus, constants among them, by the names of the ports and in their types.

    One array for the only stimulus may have the name `ONLY_PORT`; constants have no axes and may be left out. Raises
    `InvalidInput` for names too many or too few, and for values that a port does not hold exactly.
    """
    driven = {port.name: port for port in ports if port.role == "stimulus"}
    constants = {port.name: port for port in ports if port.role == "constant"}
    given = dict(stimulus)
    if drawn := [port for port in ports if port.role == "noise" and port.name in given]:
        raise InvalidInput(f"the stimulus has {drawn[0]}, which is noise and comes from the sampler: leave it out")
    if ONLY_PORT in given and len(driven) == 1:
        given.setdefault(next(iter(driven)), given.pop(ONLY_PORT))
    if not driven.keys() <= given.keys() <= driven.keys() | constants.keys():
        raise InvalidInput(
            f"the minds take {', '.join(map(str, driven.values())) or 'nothing'}, and the stimulus has "
            f"{', '.join(map(repr, sorted(given))) or 'nothing'}: give one array for each, by name"
        )
    return {name: held_exactly(array, (driven | constants)[name]) for name, array in given.items()}


def for_minds(array: AnyArray, port: MindPort, *, minds: int) -> AnyArray:
    """Return a stimulus as (time, mind, *step shape), without copying it.

    It is (time, ...), which all minds are given, or (time, mind, ...), one for each; leading axes of a step that are 1 long
    may be left out. Raises `InvalidInput` for another shape.
    """
    shape = port.step_shape
    left_out = 0
    while True:
        own = shape[left_out:]
        if _agree(array.shape[1:], own):
            each = array[(slice(None), *[None] * (left_out + 1))]
            return np.broadcast_to(each, (len(array), minds, *each.shape[2:]))
        if _agree(array.shape[1:], (minds, *own)):
            return array[(slice(None), slice(None), *[None] * left_out)]
        if left_out == len(shape) or shape[left_out] != 1:
            raise InvalidInput(
                f"stimulus {port} does not take an array of shape {array.shape}: "
                f"give (time, ...) for all minds alike, or (time, mind, ...) for {minds} minds"
            )
        left_out += 1


def _agree(shape: tuple[int, ...], wanted: Sequence[int | str | None]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(length, int) or length == actual for length, actual in zip(wanted, shape, strict=True)
    )


def in_order(stimulus: Mapping[str, AnyArray] | AnyArray, stimuli: Sequence[MindPort], *, minds: int) -> list[AnyArray]:
    """Return the arrays of a stimulus in the order of the ports, each (step, mind, *step shape), in the port's type and C order.

    Raises `InvalidInput` for a name too many or too few, a shape that does not fit, different numbers of steps or none, and
    values that the port's type does not hold exactly.
    """
    given = stimulus if isinstance(stimulus, Mapping) else {ONLY_PORT: stimulus}
    if len(stimuli) == 1 and len(given) == 1 and ONLY_PORT in given:
        given = {stimuli[0].name: given[ONLY_PORT]}
    if given.keys() != {port.name for port in stimuli}:
        raise InvalidInput(
            f"the minds take {', '.join(map(str, stimuli)) or 'nothing'}, and the stimulus has "
            f"{', '.join(map(repr, sorted(given))) or 'nothing'}: give one array for each, by name"
        )
    arrays = [_fitting(np.asarray(given[port.name]), port, minds=minds) for port in stimuli]
    if len({len(array) for array in arrays}) > 1:
        raise InvalidInput(f"the stimuli have {[len(array) for array in arrays]} steps: give all the same number")
    return arrays


def _fitting(array: AnyArray, port: MindPort, *, minds: int) -> AnyArray:
    shape = array.shape
    if (
        len(shape) != len(port.step_shape) + 2
        or shape[0] < 1
        or shape[1] != minds
        or any(
            wanted != length
            for wanted, length in zip(port.step_shape, shape[2:], strict=True)
            if isinstance(wanted, int)
        )
    ):
        raise InvalidInput(
            f"stimulus {port} does not take an array of shape {shape} for {minds} minds: give (step, mind, ...), at least one step"
        )
    if array.dtype == port.dtype and array.flags.c_contiguous:
        return array
    return held_exactly(array, port)


def held_exactly(array: AnyArray, port: MindPort) -> AnyArray:
    """Return the array in the port's type and in C order; raises `InvalidInput` where a value would change."""
    if array.dtype.kind not in "biuf":
        raise InvalidInput(f"{port.role} {port} takes numbers, not {array.dtype}: convert the array first")
    if not holds_exactly(array, port.dtype):
        raise InvalidInput(
            f"{port.role} {port} does not hold the {array.dtype.name} given without rounding: "
            f"convert it with .astype({port.dtype.name!r})"
        )
    return np.ascontiguousarray(array, dtype=port.dtype).reshape(array.shape)
