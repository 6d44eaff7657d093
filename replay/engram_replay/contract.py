"""The contract of a student: what each input and output means, which axes are time and minds, and how responses are drawn.

A network names tensors; the contract says which are stimulus, state, constant and response, pairs states by name and never
by order, and gives the units and channels that the network cannot. It is kept in the student's metadata under `contract.`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engram_format.catalog import AnyArray, Scalar
from engram_format.errors import InvalidInput
from engram_replay.told import CONTRACT_PREFIX, NO_AXIS, Distribution, Length, Role, Told, ToldPort

__all__ = ["CONTRACT_PREFIX", "Contract", "Distribution", "Length", "Port", "Role"]

_ORDER = (Role.STIMULUS, Role.NOISE, Role.CONSTANT, Role.STATE, Role.RESPONSE)


@dataclass(frozen=True, slots=True)
class Port:
    """One input or response of a student, or one state with its pair."""

    name: str
    """The network's name of it; of a state the name of the input."""
    role: Role
    dtype: np.dtype[np.generic]
    shape: tuple[Length, ...]
    time_axis: int | None = None
    """The axis along which one call takes several steps; `None` where a call takes one step."""
    minds_axis: int | None = None
    """The axis along which one call takes several minds; `None` where a call takes one mind."""
    after: str = ""
    """Of a state: the output whose value it takes after each call."""
    unit: str = ""
    channels: tuple[str, ...] = ()
    """Names of the entries of the last axis of `step_shape`; empty where they have none."""
    value: Scalar | None = None
    """Of a constant: the value that it has unless a replay gives another."""
    distribution: Distribution = Distribution.CONTINUOUS

    @property
    def array(self) -> AnyArray | None:
        """Of a constant: its value as the network takes it."""
        return None if self.value is None else np.full([1] * len(self.shape), self.value, self.dtype)

    @property
    def step_shape(self) -> tuple[Length, ...]:
        """What one mind takes or gives in one step: the shape without the axes of time and of minds."""
        return tuple(length for axis, length in enumerate(self.shape) if axis not in (self.time_axis, self.minds_axis))

    def check(self, array: AnyArray, *, outer: tuple[int, ...]) -> None:
        """Raise `InvalidInput` unless the array is of the port's type and of shape (*outer, *step_shape)."""
        expected = self.step_shape
        if (
            array.dtype != self.dtype
            or array.shape[: len(outer)] != outer
            or array.ndim != len(outer) + len(expected)
            or any(
                isinstance(length, int) and length != actual
                for length, actual in zip(expected, array.shape[len(outer) :], strict=True)
            )
        ):
            wanted = ", ".join("?" if length is None else str(length) for length in (*outer, *expected))
            raise InvalidInput(
                f"{self.role} {self.name!r} takes {self.dtype.name} of shape ({wanted}), "
                f"not {array.dtype.name} of shape {array.shape}"
            )


@dataclass(frozen=True, slots=True)
class Contract:
    """What a student takes and gives.

    Arrays that cross its border are laid out as (step, mind, *step_shape), whatever the order of axes in the network; states
    as (mind, *step_shape), constants as scalars.
    """

    ports: tuple[Port, ...]
    """Stimuli, noise, constants, states and responses, each role in the order of the network."""
    sampling_interval_s: float | None = None
    """The time between two steps, in seconds; `None` where nobody said."""
    seed: int | None = None
    """The seed of the sampler that draws events from the responses and gives noise; `None` where nobody said."""

    def of(self, role: Role) -> tuple[Port, ...]:
        """Return the ports of one role."""
        return tuple(port for port in self.ports if port.role is role)

    @property
    def stimuli(self) -> tuple[Port, ...]:
        """What is driven over time."""
        return self.of(Role.STIMULUS)

    @property
    def noise(self) -> tuple[Port, ...]:
        """What the sampler gives with each step, beside the stimuli."""
        return self.of(Role.NOISE)

    @property
    def driven(self) -> tuple[Port, ...]:
        """What the network takes anew with each step: stimuli, then noise."""
        return (*self.stimuli, *self.noise)

    @property
    def constants(self) -> tuple[Port, ...]:
        """What is given once."""
        return self.of(Role.CONSTANT)

    @property
    def states(self) -> tuple[Port, ...]:
        """What is handed on."""
        return self.of(Role.STATE)

    @property
    def responses(self) -> tuple[Port, ...]:
        """What the student answers."""
        return self.of(Role.RESPONSE)

    @property
    def takes_minds(self) -> bool:
        """Whether one call may take several minds: all stimuli, noise, states and responses have an axis for them."""
        return all(port.minds_axis is not None for port in (*self.driven, *self.states, *self.responses))

    @property
    def takes_steps(self) -> bool:
        """Whether one call may take several steps: all stimuli, noise and responses have an axis for them."""
        return all(port.time_axis is not None for port in (*self.driven, *self.responses))

    def told(self) -> Told:
        """Return all of the contract as what is said of a student."""
        ports = [(port.role is Role.RESPONSE, _told(port)) for port in self.ports]
        return Told(
            inputs=tuple(port for is_output, port in ports if not is_output),
            outputs=tuple(port for is_output, port in ports if is_output),
            sampling_interval_s=self.sampling_interval_s,
            seed=self.seed,
        )

    def to_metadata(self) -> Mapping[str, Scalar]:
        """Return the contract as flat metadata, names beginning with `contract.`; SPEC.md section 9.5 has the form."""
        return self.told().to_metadata()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Scalar]) -> Contract | None:
        """Return the contract that metadata hold, or `None` if they hold none.

        Raises `InvalidInput` for one that cannot be, and for one that does not say all: `Told.from_metadata` reads that, and
        `contract_inference.infer` completes it by the network.
        """
        told = Told.from_metadata(metadata)
        if told is None:
            return None
        ports = [_port(port, is_output=False) for port in told.inputs]
        ports += [_port(port, is_output=True) for port in told.outputs]
        return checked(cls(tuple(ports), sampling_interval_s=told.sampling_interval_s, seed=told.seed))


def checked(contract: Contract) -> Contract:
    """Return the contract if it can be; raises `InvalidInput` naming the port that contradicts itself or the others.

    Axes lie in the shape, are free and differ. Minds have an axis in all stimuli, noise, states and responses, or in none; time
    in all stimuli, noise and responses, or in none. Noise is of floating point and its other axes have lengths. What only one
    role has, no other has.
    """
    for port in contract.ports:
        _check_port(port)
    if not contract.stimuli or not contract.responses:
        raise InvalidInput(f"the contract has no {'response' if contract.stimuli else 'stimulus'}: say which it is")
    order = [_ORDER.index(port.role) for port in contract.ports]
    if order != sorted(order):
        raise InvalidInput("the contract's ports are out of order: stimuli, noise, constants, states, responses")
    for axis in ("minds_axis", "time_axis"):
        moved = [*contract.driven, *contract.responses, *(contract.states if axis == "minds_axis" else ())]
        with_axis = [port.name for port in moved if getattr(port, axis) is not None]
        without = [port.name for port in moved if getattr(port, axis) is None]
        if with_axis and without:
            raise InvalidInput(
                f"{with_axis[0]!r} has a {axis} and {without[0]!r} has none: say it of every stimulus, "
                f"noise{', state' if axis == 'minds_axis' else ''} and response, or of none"
            )
    afters = [port.after for port in contract.states]
    if len(set(afters)) < len(afters) or set(afters) & {port.name for port in contract.responses}:
        raise InvalidInput(
            "an output is the next value of two states, or of a state and a response too: name each once"
        )
    return contract


def _check_port(port: Port) -> None:
    what = f"{port.role} {port.name!r}"
    if port.role is Role.CONSTANT and math.prod(0 if not isinstance(n, int) else n for n in port.shape) != 1:
        raise InvalidInput(f"{what} is no single value: a constant has the shape () or one of ones")
    for axis, name in ((port.time_axis, "time_axis"), (port.minds_axis, "minds_axis")):
        if axis is None:
            continue
        if port.role is Role.CONSTANT or (port.role is Role.STATE and name == "time_axis"):
            raise InvalidInput(f"{what} has a {name}: take it away")
        if not 0 <= axis < len(port.shape):
            raise InvalidInput(f"{what} has its {name} at {axis} of {len(port.shape)} axes: they count from 0")
        if isinstance(port.shape[axis], int):
            raise InvalidInput(
                f"{what} has its {name} where the network is always {port.shape[axis]} long: take it away, and each call "
                f"takes one {'step' if name == 'time_axis' else 'mind'}"
            )
    if port.time_axis is not None and port.time_axis == port.minds_axis:
        raise InvalidInput(f"{what} has time and minds along one axis: name two")
    if port.role is Role.NOISE and port.dtype.kind != "f":
        raise InvalidInput(f"{what} is of type {port.dtype.name}: noise is float16, float32 or float64")
    if port.role is Role.NOISE and not all(isinstance(length, int) for length in port.step_shape):
        raise InvalidInput(
            f"{what} has a free axis beside those of time and minds, {list(port.shape)}: say its length as 'shape'"
        )
    if (port.role is Role.STATE) != bool(port.after):
        raise InvalidInput(
            f"{what} {'does not say' if port.role is Role.STATE else 'says'} what follows it: mend 'after'"
        )
    if port.value is not None and (port.role is not Role.CONSTANT or not _holds(port.dtype, port.value)):
        raise InvalidInput(
            f"{what} has the value {port.value!r}: only constants have one, exactly of type {port.dtype.name}"
        )
    if port.distribution is not Distribution.CONTINUOUS and (port.role is not Role.RESPONSE or port.dtype.kind != "f"):
        raise InvalidInput(f"{what} is a distribution's parameter: only responses of floating point are")
    if port.channels:
        last = port.step_shape[-1] if port.step_shape else 1
        if len(set(port.channels)) < len(port.channels):
            raise InvalidInput(f"{what} names a channel twice: give each a name of its own")
        if isinstance(last, int) and len(port.channels) != last:
            raise InvalidInput(f"{what} has {len(port.channels)} names for {last} channels: name all or none")


def _holds(dtype: np.dtype[np.generic], value: Scalar) -> bool:
    """Say whether a number is one of a type, without rounding; a fraction is one of a float's if it is near it."""
    if isinstance(value, str):
        return False
    if dtype.kind == "b":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if dtype.kind == "f":
        # A decimal fraction is none of a binary type exactly; it stands for the nearest.
        return math.isfinite(value) and abs(value) <= float(np.finfo(dtype.name).max)
    bounds = np.iinfo(dtype.name)
    return value == int(value) and bounds.min <= value <= bounds.max


def _told(port: Port) -> ToldPort:
    return ToldPort(
        name=port.name,
        role=port.role,
        dtype=port.dtype,
        shape=port.shape,
        time_axis=NO_AXIS if port.time_axis is None else port.time_axis,
        minds_axis=NO_AXIS if port.minds_axis is None else port.minds_axis,
        after=port.after or None,
        unit=port.unit or None,
        channels=port.channels or None,
        value=port.value,
        distribution=port.distribution if port.role is Role.RESPONSE else None,
    )


def _port(told: ToldPort, *, is_output: bool) -> Port:
    what = f"the contract of {'output' if is_output else 'input'} {told.name!r}"
    if told.role is None or told.dtype is None or told.shape is None:
        raise InvalidInput(f"{what} does not say role, type and shape: deposit the student again to complete it")
    if told.time_axis is None or told.minds_axis is None:
        raise InvalidInput(f"{what} does not say its axes: deposit the student again to complete it")
    if (told.role is Role.RESPONSE) != is_output:
        raise InvalidInput(f"{what} makes it a {told.role}: outputs are responses, and nothing else is")
    return Port(
        name=told.name,
        role=told.role,
        dtype=told.dtype,
        shape=told.shape,
        time_axis=None if told.time_axis == NO_AXIS else told.time_axis,
        minds_axis=None if told.minds_axis == NO_AXIS else told.minds_axis,
        after=told.after or "",
        unit=told.unit or "",
        channels=told.channels or (),
        value=told.value,
        distribution=told.distribution or Distribution.CONTINUOUS,
    )
